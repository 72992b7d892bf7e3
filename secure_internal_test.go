package main

import "testing"

func TestShownValue(t *testing.T) {
	for value, want := range map[any]string{
		"https://keys:secret@id.example/jwks": "https://keys:xxxxx@id.example/jwks",
		"https://id.example/jwks":             "https://id.example/jwks",
		"127.0.0.1:8815":                      "127.0.0.1:8815",
		42:                                    "42",
	} {
		if got := shownValue(value); got != want {
			t.Errorf("shownValue(%v) = %q, want %q", value, got, want)
		}
	}
}
