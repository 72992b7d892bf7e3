package segments_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
	"kalamflight/segments"
)

func mark(id manifest.SegmentID, row uint32, seq manifest.Seq, by int32, time int64) manifest.Mark {
	return manifest.Mark{Target: manifest.RowRef{Segment: id, Row: row}, Seq: seq, By: by, Time: time}
}

func TestMarksKeepWhatTheySay(t *testing.T) {
	r, _ := testkit.Rand(t)
	ctx := context.Background()
	bucket := blob.NewMem()
	for generation := uint64(1); generation <= 50; generation++ {
		rows := map[uint32]bool{}
		var marks []manifest.Mark
		for range 1 + r.IntN(500) {
			row := r.Uint32N(1 << (1 + r.Uint32N(31)))
			if rows[row] {
				continue
			}
			rows[row] = true
			marks = append(marks, mark(7, row, manifest.Seq(1+r.Int64N(1<<40)), r.Int32N(1<<20)-1, r.Int64N(1<<52)))
		}
		given := slices.Clone(marks)
		m, err := segments.WriteMarks(ctx, bucket, "d", 7, generation, marks)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(given, marks) {
			t.Error("WriteMarks reorders what it was given")
		}
		got, err := segments.ReadMarks(ctx, bucket, "d", 7, &m)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(marks, func(a, b manifest.Mark) int { return int(int64(a.Target.Row) - int64(b.Target.Row)) })
		if !reflect.DeepEqual(got, marks) {
			t.Fatalf("ReadMarks = %v, want %v", got, marks)
		}
	}
}

func TestMarksRefuse(t *testing.T) {
	for name, marks := range map[string][]manifest.Mark{
		"row twice":     {mark(7, 1, 5, -1, 0), mark(7, 1, 6, -1, 0)},
		"other segment": {mark(8, 1, 5, -1, 0)},
		"no seq":        {mark(7, 1, 0, -1, 0)},
		"strange by":    {mark(7, 1, 5, -2, 0)},
		"none":          nil,
	} {
		if _, err := segments.WriteMarks(context.Background(), blob.NewMem(), "d", 7, 1, marks); !errors.Is(err,
			fault.ErrInvalid) {
			t.Errorf("%s: WriteMarks = %v, want ErrInvalid", name, err)
		}
	}
	ctx := context.Background()
	bucket := blob.NewMem()
	m, err := segments.WriteMarks(ctx, bucket, "d", 7, 1, []manifest.Mark{mark(7, 1, 5, -1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	bucket.Corrupt(manifest.MarkFileName("d", 7, 1), func(b []byte) []byte { b[9]++; return b })
	if _, err := segments.ReadMarks(ctx, bucket, "d", 7, &m); !errors.Is(err, fault.ErrCorrupt) ||
		!strings.Contains(err.Error(), manifest.MarkFileName("d", 7, 1)) {
		t.Errorf("ReadMarks of a damaged file = %v, want ErrCorrupt and the name of the file", err)
	}
}

// TestMarksOfFormatPage encodes the example of FORMAT.md.
func TestMarksOfFormatPage(t *testing.T) {
	b, err := segments.EncodeMarks(255, []manifest.Mark{mark(255, 9, 1000, -1, 5_000_000),
		mark(255, 10, 1001, 3, 5_000_100)})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	var hex string
	inside := false
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "```") {
			inside = strings.TrimSpace(line) == "```marks"
		} else if inside {
			bytes, _, _ := strings.Cut(line, "|")
			hex += strings.ReplaceAll(bytes, " ", "")
		}
	}
	if got := fmt.Sprintf("%x", b); got != strings.TrimSpace(strings.ReplaceAll(hex, "\n", "")) {
		t.Errorf("EncodeMarks = %s, FORMAT.md says %s", got, hex)
	}
}

// FuzzMarks: what DecodeMarks takes, EncodeMarks gives back.
func FuzzMarks(f *testing.F) {
	b, err := segments.EncodeMarks(255, []manifest.Mark{mark(255, 9, 1000, -1, 5_000_000),
		mark(255, 10, 1001, 3, 5_000_100)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:16])
	f.Fuzz(func(t *testing.T, b []byte) {
		marks, err := segments.DecodeMarks(255, segments.SealMarks(b))
		if err != nil {
			if !errors.Is(err, fault.ErrCorrupt) {
				t.Errorf("error of no kind: %v", err)
			}
			return
		}
		again, err := segments.EncodeMarks(255, slices.Clone(marks))
		if err != nil {
			t.Fatalf("EncodeMarks of what was decoded: %v", err)
		}
		if second, err := segments.DecodeMarks(255, again); err != nil || !reflect.DeepEqual(second, marks) {
			t.Errorf("second round: %v", err)
		}
	})
}
