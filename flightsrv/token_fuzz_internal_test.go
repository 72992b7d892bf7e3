package flightsrv

import "testing"

// FuzzSessionToken: no text opens but one that was sealed, and it opens as what it was.
func FuzzSessionToken(f *testing.F) {
	s := newSealer([]byte("0123456789abcdef"), "token")
	f.Add(newSealer([]byte("another secret.."), "token").sealToken(token{user: 1}))
	f.Add(newSealer([]byte("0123456789abcdef"), "ticket").sealToken(token{user: 1}))
	f.Add("kf1.")
	f.Add("kf1.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := s.openToken(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	})
}

// FuzzCredentials: no header of a call makes its reading panic.
func FuzzCredentials(f *testing.F) {
	f.Add("Basic YTpi")
	f.Add("Bearer a.b.c")
	f.Add("basic")
	f.Fuzz(func(t *testing.T, header string) {
		scheme, rest := cutScheme(header)
		if len(scheme)+len(rest) > len(header)+len("�")*len(header) {
			t.Errorf("%q became %q and %q", header, scheme, rest)
		}
		isToken(rest)
	})
}
