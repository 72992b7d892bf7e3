package manifest

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"testing"

	"kalamflight/internal/fault"
)

// FuzzDecode seals what the fuzzer makes, so that it gets past the checksum: whatever Decode then takes, Encode gives
// back in a form that says the same.
func FuzzDecode(f *testing.F) {
	whole, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		f.Fatal(err)
	}
	_, body, _ := bytes.Cut(whole, []byte("\n"))
	f.Add(bytes.TrimSuffix(body, []byte(frameTail)))
	f.Add([]byte(`{"format":1,"generation":1,"table":1,"segments":[{"id":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(seal(b))
		if err != nil {
			if !errors.Is(err, fault.ErrCorrupt) && !errors.Is(err, fault.ErrUnsupported) {
				t.Errorf("error of no kind: %v", err)
			}
			return
		}
		again, err := Encode(m)
		if err != nil {
			t.Fatalf("Encode of what was decoded: %v", err)
		}
		// Two encodings are compared, since NaN is not equal to itself and empty lists are as good as none.
		second, err := Decode(again)
		if err != nil {
			t.Fatalf("Decode of what was encoded: %v", err)
		}
		if third, err := Encode(second); err != nil || !reflect.DeepEqual(again, third) {
			t.Errorf("encodings differ: %v\n%s\n%s", err, again, third)
		}
	})
}
