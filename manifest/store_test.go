package manifest_test

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

func messages() *manifest.Table {
	return &manifest.Table{ID: 12, Namespace: "chat", Name: "messages", Kind: manifest.User, Key: []manifest.ColumnID{1},
		Columns: []manifest.Column{{ID: 1, Name: "id", Type: manifest.Type{Kind: manifest.BigInt}, NotNull: true},
			{ID: 2, Name: "body", Type: manifest.Type{Kind: manifest.Text}},
			{ID: 4, Name: "sent", Type: manifest.Type{Kind: manifest.DateTime}, Default: "NOW()"}}}
}

func tablet(id manifest.UserID, name string) manifest.Tablet {
	return manifest.Tablet{Table: messages(), Owner: manifest.Owner{ID: id, Name: name}}
}

// segment is a valid one.
func segment(id manifest.SegmentID, seq manifest.Seq) manifest.Segment {
	return manifest.Segment{ID: id, Rows: 10, Bytes: 100, FirstSeq: seq, LastSeq: seq + 5, FirstTime: 1, LastTime: 2,
		Checksum: 7}
}

func seq(s manifest.Seq) *manifest.Seq { return &s }

func TestCommitIsCompareAndSwap(t *testing.T) {
	ctx := context.Background()
	bucket := blob.NewMem()
	s := manifest.OpenStore(bucket)
	ann := tablet(3, "ann")
	base, err := s.Load(ctx, ann)
	if err != nil || base.Generation != 0 || base.Table != 12 || base.Owner != 3 || len(base.Segments) != 0 {
		t.Fatalf("Load of nothing = %+v, %v", base, err)
	}
	first, err := s.Commit(ctx, ann, base, manifest.Edit{Add: []manifest.Segment{segment(9, 50), segment(8, 40)},
		Flushed: seq(55)})
	if err != nil {
		t.Fatal(err)
	}
	if first.Generation != 1 || first.Flushed != 55 || first.Segments[0].ID != 8 || first.Segments[1].ID != 9 {
		t.Errorf("Commit = %+v", first)
	}
	if _, err := s.Commit(ctx, ann, base, manifest.Edit{Oldest: seq(1)}); !errors.Is(err, fault.ErrConflict) {
		t.Errorf("Commit on an old base = %v, want ErrConflict", err)
	}
	other := manifest.OpenStore(bucket)
	marks := &manifest.MarkFile{Generation: 1, Count: 2, Bytes: 30}
	second, err := other.Commit(ctx, ann, first, manifest.Edit{Remove: []manifest.SegmentID{9},
		SetMarks: map[manifest.SegmentID]*manifest.MarkFile{8: marks}, Marked: seq(60)})
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Segments) != 1 || !reflect.DeepEqual(second.Segments[0].Marks, marks) || second.Marked != 60 ||
		len(first.Segments) != 2 {
		t.Errorf("Commit = %+v", second)
	}
	// The first store does not know yet: its commit must fail and it must see the new state afterwards.
	if _, err := s.Commit(ctx, ann, first, manifest.Edit{Oldest: seq(2)}); !errors.Is(err, fault.ErrConflict) {
		t.Errorf("Commit behind another store = %v, want ErrConflict", err)
	}
	if now, err := s.Load(ctx, ann); err != nil || now.Generation != 2 {
		t.Errorf("Load after a conflict = %+v, %v", now, err)
	}
}

func TestCommitRefuses(t *testing.T) {
	ctx := context.Background()
	s := manifest.OpenStore(blob.NewMem())
	ann := tablet(3, "ann")
	empty, err := s.Load(ctx, ann)
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.Commit(ctx, ann, empty, manifest.Edit{Add: []manifest.Segment{segment(8, 40)}, Flushed: seq(45)})
	if err != nil {
		t.Fatal(err)
	}
	bad := segment(10, 60)
	bad.Rows = 0
	for name, tc := range map[string]struct {
		edit manifest.Edit
		kind error
	}{
		"flushed steps back":   {manifest.Edit{Flushed: seq(44)}, fault.ErrInvalid},
		"same segment twice":   {manifest.Edit{Add: []manifest.Segment{segment(8, 50)}}, fault.ErrInvalid},
		"segment without rows": {manifest.Edit{Add: []manifest.Segment{bad}}, fault.ErrInvalid},
		"remove what is not":   {manifest.Edit{Remove: []manifest.SegmentID{99}}, fault.ErrNotFound},
		"marks of what is not": {manifest.Edit{SetMarks: map[manifest.SegmentID]*manifest.MarkFile{99: nil}},
			fault.ErrNotFound},
		"more marks than rows": {manifest.Edit{SetMarks: map[manifest.SegmentID]*manifest.MarkFile{8: {Generation: 1,
			Count: 11}}}, fault.ErrInvalid},
	} {
		if _, err := s.Commit(ctx, ann, base, tc.edit); !errors.Is(err, tc.kind) {
			t.Errorf("%s: Commit = %v, want %v", name, err, tc.kind)
		}
	}
	if now, err := s.Load(ctx, ann); err != nil || now != base {
		t.Errorf("after refused commits Load = %+v, %v", now, err)
	}
}

// TestLostAnswer: a commit whose answer is lost is found by loading again.
func TestLostAnswer(t *testing.T) {
	ctx := context.Background()
	bucket := blob.NewMem()
	s := manifest.OpenStore(bucket)
	ann := tablet(3, "ann")
	base, err := s.Load(ctx, ann)
	if err != nil {
		t.Fatal(err)
	}
	bucket.Fail(func(blob.Operation) blob.Outcome { return blob.FailAfter })
	if _, err := s.Commit(ctx, ann, base, manifest.Edit{Oldest: seq(9)}); !errors.Is(err, blob.ErrInjected) {
		t.Errorf("Commit = %v", err)
	}
	bucket.Fail(nil)
	if now, err := s.Load(ctx, ann); err != nil || now.Generation != 1 || now.Oldest != 9 {
		t.Errorf("Load = %+v, %v", now, err)
	}
}

func TestLeftoversAreEmptyAndSwept(t *testing.T) {
	ctx := context.Background()
	bucket := blob.NewMem()
	s := manifest.OpenStore(bucket)
	old := tablet(3, "ann")
	base, err := s.Load(ctx, old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, old, base, manifest.Edit{Add: []manifest.Segment{segment(8, 40)}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{manifest.SegmentFile(old.Dir(), 8), manifest.SegmentFile(old.Dir(), 9),
		manifest.MarkFileName(old.Dir(), 8, 2)} {
		if _, err := bucket.PutIf(ctx, name, []byte("x"), ""); err != nil {
			t.Fatal(err)
		}
	}
	// A new user of the same name never sees the old one's rows.
	fresh := tablet(4, "ann")
	m, err := s.Load(ctx, fresh)
	if err != nil || m.Generation != 0 || len(m.Segments) != 0 {
		t.Fatalf("Load = %+v, %v", m, err)
	}
	n, err := s.Sweep(ctx, old, func(id manifest.SegmentID) bool { return id == 9 })
	if err != nil || n != 1 {
		t.Errorf("Sweep of the old owner = %d, %v, want 1: the mark file", n, err)
	}
	if n, err = s.Sweep(ctx, fresh, nil); err != nil || n != 3 {
		t.Errorf("Sweep of the new owner = %d, %v, want 3", n, err)
	}
	if _, err := s.Commit(ctx, fresh, m, manifest.Edit{Add: []manifest.Segment{segment(20, 90)}}); err != nil {
		t.Errorf("Commit after the sweep: %v", err)
	}
	if again, err := manifest.OpenStore(bucket).Load(ctx, fresh); err != nil || again.Generation != 1 {
		t.Errorf("Load = %+v, %v", again, err)
	}
}

func TestCommitOverALeftover(t *testing.T) {
	ctx := context.Background()
	bucket := blob.NewMem()
	s := manifest.OpenStore(bucket)
	for _, id := range []manifest.UserID{3, 4} {
		m, err := s.Load(ctx, tablet(id, "ann"))
		if err != nil || m.Generation != 0 {
			t.Fatalf("Load for user %d = %+v, %v", id, m, err)
		}
		if _, err := s.Commit(ctx, tablet(id, "ann"), m, manifest.Edit{Oldest: seq(1)}); err != nil {
			t.Fatalf("Commit for user %d: %v", id, err)
		}
	}
	owners, err := s.Owners(ctx, messages())
	if err != nil || !slices.Equal(owners, []manifest.Owner{{ID: 4, Name: "ann"}}) {
		t.Errorf("Owners = %v, %v", owners, err)
	}
}

func TestOwnersAndDrop(t *testing.T) {
	ctx := context.Background()
	bucket := blob.NewMem()
	s := manifest.OpenStore(bucket)
	names := []string{"Zoë", "ann", "../../etc", "ANN"}
	for i, name := range names {
		tb := tablet(manifest.UserID(i+1), name)
		m, err := s.Load(ctx, tb)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(ctx, tb, m, manifest.Edit{Oldest: seq(1)}); err != nil {
			t.Fatal(err)
		}
	}
	other := messages()
	other.ID, other.Name = 13, "messages2"
	for _, tc := range []struct {
		table *manifest.Table
		want  int
	}{{messages(), 4}, {other, 0}} {
		owners, err := s.Owners(ctx, tc.table)
		if err != nil || len(owners) != tc.want {
			t.Errorf("Owners of %s = %v, %v", tc.table.Name, owners, err)
		}
		for _, o := range owners {
			if names[o.ID-1] != o.Name {
				t.Errorf("owner %d is %q, want %q", o.ID, o.Name, names[o.ID-1])
			}
		}
	}
	if err := s.Drop(ctx, tablet(2, "ann")); err != nil {
		t.Fatal(err)
	}
	err := bucket.List(ctx, tablet(2, "ann").Dir()+"/", func(e blob.Entry) error { return errors.New(e.Name) })
	if err != nil {
		t.Errorf("after Drop: %v", err)
	}
	if m, err := s.Load(ctx, tablet(2, "ann")); err != nil || m.Generation != 0 {
		t.Errorf("Load after Drop = %+v, %v", m, err)
	}
	shared := messages()
	shared.Kind = manifest.Shared
	st := manifest.Tablet{Table: shared}
	m, err := s.Load(ctx, st)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, st, m, manifest.Edit{Oldest: seq(1)}); err != nil {
		t.Fatal(err)
	}
	if owners, err := s.Owners(ctx, shared); err != nil || !slices.Equal(owners, []manifest.Owner{{}}) {
		t.Errorf("Owners of a SHARED table = %v, %v", owners, err)
	}
}

// golden is the manifest of FORMAT.md.
func golden() *manifest.Manifest {
	table := messages()
	segment := manifest.Segment{ID: 255, Rows: 1000, Bytes: 20480, FirstSeq: 40, LastSeq: 45,
		FirstTime: 1_700_000_000_000_000, LastTime: 1_700_000_001_000_000, Checksum: 0xC0FFEE,
		FirstKey: []byte{0x80, 0, 0, 0, 0, 0, 0, 1}, LastKey: []byte{0x80, 0, 0, 0, 0, 0, 3, 0xE8},
		Marks: &manifest.MarkFile{Generation: 2, Count: 3, Bytes: 40, Checksum: 99}}
	segment.Columns = []manifest.ColumnStats{
		{ID: 1, Type: table.Columns[0].Type, Min: int64(1), Max: int64(1000), Exact: true, Bytes: 900},
		{ID: 2, Type: table.Columns[1].Type, Min: "hello", Max: "zzz", Exact: true, Nulls: 7, Bytes: 9000},
		{ID: 4, Type: table.Columns[2].Type, Min: segment.FirstTime, Max: segment.LastTime, Exact: true},
	}
	return &manifest.Manifest{Format: 1, Generation: 3, Table: 12, Owner: 3, Namespace: "chat", Name: "messages",
		Columns: table.Columns, Key: table.Key, Flushed: 45, Marked: 60, Oldest: 2,
		Segments: []manifest.Segment{segment}}
}

func TestGoldenFile(t *testing.T) {
	want, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.Encode(golden())
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("Encode =\n%s\nwant\n%s", got, want)
	}
	m, err := manifest.Decode(want)
	if err != nil || !reflect.DeepEqual(m, golden()) {
		t.Errorf("Decode = %+v, %v", m, err)
	}
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), strings.TrimSpace(string(want))) {
		t.Error("FORMAT.md does not show the golden file")
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole, err := manifest.Encode(golden())
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		damaged := slices.Clone(whole)
		damaged[i] ^= 1
		if _, err := manifest.Decode(damaged); !errors.Is(err, fault.ErrCorrupt) {
			t.Fatalf("Decode with byte %d damaged = %v, want ErrCorrupt", i, err)
		}
		if _, err := manifest.Decode(whole[:i]); !errors.Is(err, fault.ErrCorrupt) {
			t.Fatalf("Decode of %d bytes = %v, want ErrCorrupt", i, err)
		}
	}
	newer := golden()
	newer.Format = manifest.Format + 1
	b, err := manifest.Encode(newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.Decode(b); !errors.Is(err, fault.ErrUnsupported) {
		t.Errorf("Decode of a newer format = %v, want ErrUnsupported", err)
	}
}

func TestValuesKeepTheirText(t *testing.T) {
	ty := func(k manifest.TypeKind) manifest.Type { return manifest.Type{Kind: k} }
	money := manifest.Type{Kind: manifest.Decimal, Precision: 10, Scale: 2}
	for _, tc := range []struct {
		t    manifest.Type
		v    any
		text string
	}{
		{ty(manifest.Boolean), true, `true`},
		{ty(manifest.SmallInt), int64(-3), `-3`},
		{ty(manifest.BigInt), int64(-9223372036854775808), `"-9223372036854775808"`},
		{ty(manifest.Float), float64(float32(0.1)), `"0.10000000149011612"`},
		{ty(manifest.Double), 0.1, `"0.1"`},
		{money, decimal128.FromI64(-5), `"-0.05"`},
		{money, decimal128.FromI64(123456), `"1234.56"`},
		{ty(manifest.Text), "a\"ü", `"a\"ü"`},
		{ty(manifest.Bytes), []byte{0, 255}, `"AP8="`},
		{ty(manifest.UUID), [16]byte{1, 15: 2}, `"01000000-0000-0000-0000-000000000002"`},
		{ty(manifest.Date), int64(19000), `"2022-01-08"`},
		{ty(manifest.Date), int64(2147483647), `"@2147483647"`},
		{ty(manifest.Time), int64(86_399_999_999), `"23:59:59.999999"`},
		{ty(manifest.Timestamp), int64(-1), `"1969-12-31T23:59:59.999999"`},
		{ty(manifest.DateTime), int64(1), `"1970-01-01T00:00:00.000001Z"`},
		{ty(manifest.DateTime), int64(9223372036854775807), `"@9223372036854775807"`},
		{ty(manifest.Text), nil, ``},
	} {
		text, err := manifest.EncodeValue(tc.t, tc.v)
		if err != nil || text != tc.text {
			t.Errorf("EncodeValue(%s, %v) = %s, %v, want %s", tc.t, tc.v, text, err, tc.text)
		}
		v, err := manifest.DecodeValue(tc.t, text)
		if err != nil || !reflect.DeepEqual(v, tc.v) {
			t.Errorf("DecodeValue(%s, %s) = %v, %v, want %v", tc.t, text, v, err, tc.v)
		}
	}
	if _, err := manifest.EncodeValue(ty(manifest.BigInt), "1"); !errors.Is(err, fault.ErrInvalid) {
		t.Errorf("EncodeValue of another type = %v", err)
	}
	for _, bad := range []string{`1`, `"1.0"`, `"x"`, `{`} {
		if _, err := manifest.DecodeValue(ty(manifest.BigInt), bad); err == nil {
			t.Errorf("DecodeValue(%s) succeeds", bad)
		}
	}
}
