package flightsrv

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// example is the bytes of a fenced block of FORMAT.md.
func example(t *testing.T, name string) []byte {
	t.Helper()
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```"+name+"\n")
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("FORMAT.md has no example of a %s", name)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(block), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFormatOfTickets(t *testing.T) {
	want := ticket{kind: ticketQuery, id: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, user: 42,
		expires: time.UnixMilli(1000), namespace: "default", text: "SELECT ?", asOf: 99, schema: 7,
		params: [][]plan.Literal{{{Value: int64(5), Type: kind(manifest.BigInt)}}}}
	got, err := decodeTicket(example(t, "ticket"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the example is %+v, %v\nwant %+v", got, err, want)
	}
	if b, err := want.encode(); err != nil || hex.EncodeToString(b) != hex.EncodeToString(example(t, "ticket")) {
		t.Errorf("encoded it is %x, %v", b, err)
	}
}

func TestFormatOfTokens(t *testing.T) {
	want := token{user: 42, epoch: 3, issued: time.Unix(1000, 0), expires: time.Unix(2000, 0),
		source: 7, until: time.Unix(3000, 0), id: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}
	s := newSealer([]byte("0123456789abcdef"), "token")
	text := s.sealToken(want)
	got, err := s.openToken(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("opened it is %+v, %v", got, err)
	}
	if _, err := newSealer([]byte("0123456789abcdef"), "ticket").openToken(text); err == nil {
		t.Error("a token opens with the key of tickets")
	}
	body, ok := s.open(s.seal(example(t, "token")))
	if !ok || s.sealToken(want) != tokenPrefix+base64.RawURLEncoding.EncodeToString(s.seal(body)) {
		t.Error("the example is another token")
	}
}
