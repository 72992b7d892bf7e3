package segments_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"

	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/segments/pqdec"
	"kalamflight/segments/pqenc"
)

// runs are n numbers with runs of equal ones, of steps, and of noise, between the two extremes of their width.
func runs(r *rand.Rand, n int, width uint) []int64 {
	out := make([]int64, 0, n)
	for len(out) < n {
		v, step := int64(r.Uint64()>>r.UintN(64)), int64(0)
		if r.IntN(2) == 0 {
			step = r.Int64N(100) - 50
		}
		noise := r.IntN(3) == 0
		if r.IntN(9) == 0 {
			v = []int64{math.MinInt64, math.MaxInt64, math.MinInt32, math.MaxInt32}[r.IntN(4)]
		}
		for range 1 + r.IntN(200) {
			if noise {
				v = r.Int64N(1 << (1 + r.UintN(20)))
			}
			if width == 4 {
				v = int64(int32(v))
			}
			out = append(out, v)
			v += step
		}
	}
	return out[:n]
}

// TestPagesOfRuns encodes numbers and strings page by page, and decodes what comes out.
func TestPagesOfRuns(t *testing.T) {
	r, _ := testkit.Rand(t)
	alloc := testkit.Alloc(t)
	encoder := pqenc.NewEncoder()
	defer encoder.Close()
	var codecs pqdec.Codecs
	for i := range 300 {
		n := 1 + r.IntN(4000)
		column := pqenc.Column{PageRows: 64 << r.IntN(4), Codec: []compress.Compression{compress.Codecs.Lz4Raw,
			compress.Codecs.Zstd,
			compress.Codecs.Snappy, compress.Codecs.Uncompressed}[i%4], Optional: i%5 == 0}
		read := pqdec.Column{Codec: column.Codec, Rows: n, Optional: column.Optional, KeepDict: i%2 == 0}
		if column.Optional {
			read.MaxDef = 1
		}
		v := &pqenc.Values{Rows: n}
		var want []string
		switch i / 4 % 3 {
		case 0:
			column.Physical, read.Physical, read.Type = parquet.Types.Int32, parquet.Types.Int32, arrow.PrimitiveTypes.Int32
			for _, x := range runs(r, n, 4) {
				v.Int32 = append(v.Int32, int32(x))
				want = append(want, fmt.Sprint(x))
			}
		case 1:
			column.Physical, read.Physical, read.Type = parquet.Types.Int64, parquet.Types.Int64, arrow.PrimitiveTypes.Int64
			v.Int64 = runs(r, n, 8)
			for _, x := range v.Int64 {
				want = append(want, fmt.Sprint(x))
			}
		default:
			column.Physical = parquet.Types.ByteArray
			read.Physical = parquet.Types.ByteArray
			read.Type = arrow.BinaryTypes.String
			v.Offsets = []int32{0}
			for _, x := range runs(r, n, 8) {
				if i%2 == 0 {
					x &= 7
				}
				v.Bytes = fmt.Append(v.Bytes, x)
				v.Offsets = append(v.Offsets, int32(len(v.Bytes)))
				want = append(want, fmt.Sprint(x))
			}
		}
		chunk, err := encoder.Encode(column, v)
		if err != nil {
			t.Fatal(err)
		}
		c, err := pqdec.NewChunk(read, &codecs, alloc)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Feed(memory.NewBufferBytes(chunk.Body), 0, len(chunk.Body)); err != nil {
			t.Fatal(err)
		}
		for row := 0; row < n; {
			a, err := c.Read(1 + r.IntN(500))
			if err != nil || a == nil {
				t.Fatalf("%s, encoding %s: Read at row %d of %d: %v", read.Type, chunk.Encoding, row, n, err)
			}
			for _, text := range texts(a) {
				if text != want[row] {
					t.Fatalf("%s, encoding %s, row %d: got %s, want %s", read.Type, chunk.Encoding, row, text, want[row])
				}
				row++
			}
			a.Release()
		}
		c.Close()
	}
}

func TestEncodeRefuses(t *testing.T) {
	encoder := pqenc.NewEncoder()
	defer encoder.Close()
	fixed := binary.LittleEndian.AppendUint32(nil, 1)
	for name, tc := range map[string]struct {
		c pqenc.Column
		v pqenc.Values
	}{
		"too few values": {pqenc.Column{Physical: parquet.Types.Int64, PageRows: 64},
			pqenc.Values{Rows: 2, Int64: []int64{1}}},
		"no rows": {pqenc.Column{Physical: parquet.Types.Int64, PageRows: 64}, pqenc.Values{}},
		"odd pages": {pqenc.Column{Physical: parquet.Types.Int64, PageRows: 65},
			pqenc.Values{Rows: 1, Int64: []int64{1}}},
		"half a value": {pqenc.Column{Physical: parquet.Types.Double, PageRows: 64},
			pqenc.Values{Rows: 1, Fixed: fixed}},
		"NULL where none may": {pqenc.Column{Physical: parquet.Types.Int64, PageRows: 64}, pqenc.Values{Rows: 1, Nulls: 1}},
		"no such physical": {pqenc.Column{Physical: parquet.Types.Int96, PageRows: 64},
			pqenc.Values{Rows: 1, Fixed: fixed}},
	} {
		if _, err := encoder.Encode(tc.c, &tc.v); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: Encode = %v, want ErrInvalid", name, err)
		}
	}
}
