package main

import "testing"

func TestSameRow(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"12 | 8.926117188 | ", "12 | 8.926117187 | ", true},
		{"12 | 8.926117188 | ", "13 | 8.926117187 | ", false},
		{"12 | 8.926117188 | ", "12 | 8.926117184 | ", true},
		{"12 | 8.926117188 | ", "12 | 8.926117088 | ", false},
		{"1.25 | ", "1.24 | ", false},
		{"12345678901 | ", "12345678902 | ", false},
		{`"a | 1.5" | `, `"a | 1.6" | `, false},
	} {
		if sameRow(test.a, test.b) != test.same {
			t.Errorf("sameRow(%q, %q) is not %v", test.a, test.b, test.same)
		}
	}
}
