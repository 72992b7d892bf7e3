package transfer_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/transfer"
)

// read is what a text is as rows: types, then the values of each row.
func read(t *testing.T, text string, o transfer.ReadOptions) (types, rows string, err error) {
	t.Helper()
	r, err := transfer.Open(t.Context(), "-", strings.NewReader(text), o)
	if err != nil {
		return "", "", err
	}
	defer r.Close()
	var kinds, lines []string
	for _, f := range r.Schema().Fields() {
		kinds = append(kinds, f.Name+" "+f.Type.String())
	}
	for r.Next() {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			var cells []string
			for _, c := range b.Columns() {
				cells = append(cells, c.ValueStr(i))
			}
			lines = append(lines, strings.Join(cells, "|"))
		}
	}
	return strings.Join(kinds, ", "), strings.Join(lines, "\n"), r.Err()
}

func TestText(t *testing.T) {
	known := arrow.NewSchema([]arrow.Field{{Name: "Price", Type: &arrow.Decimal128Type{Precision: 10, Scale: 2}},
		{
			Name: "id",
			Type: &arrow.FixedSizeBinaryType{ByteWidth: 16},
		}, {Name: "b", Type: arrow.BinaryTypes.Binary}}, nil)
	lists := arrow.NewSchema([]arrow.Field{{Name: "l", Type: arrow.ListOf(arrow.BinaryTypes.String)},
		{Name: "t", Type: arrow.ListOf(&arrow.TimestampType{Unit: arrow.Microsecond})},
		{Name: "n", Type: arrow.ListOf(&arrow.Decimal128Type{Precision: 4, Scale: 2})}}, nil)
	for name, test := range map[string]struct {
		text        string
		o           transfer.ReadOptions
		types, rows string
	}{
		"Types": {"i,f,b,d,t,z,code,s\n1,1.5,true,2026-01-31,2026-01-31 10:00:00,2026-01-31T10:00:00+02:00,007,x\n",
			transfer.ReadOptions{Format: transfer.CSV},
			"i int64, f float64, b bool, d date32, t timestamp[us], z timestamp[us, tz=UTC], code utf8, s utf8",
			"1|1.5|true|2026-01-31|2026-01-31T10:00:00|2026-01-31T08:00:00Z|007|x"},
		"Widen": {"a\n1\n2.5\n", transfer.ReadOptions{Format: transfer.CSV}, "a float64", "1\n2.5"},
		"Quotes": {"a,b\r\n\"x, \"\"y\"\"\nz\",\"\"\r\n,1\r\n", transfer.ReadOptions{Format: transfer.CSV},
			"a utf8, b utf8", "x, \"y\"\nz|\n(null)|1"},
		"QuotedNumbersAreTexts": {"a\n\"1\"\n", transfer.ReadOptions{Format: transfer.CSV}, "a utf8", "1"},
		"NoLastNewline":         {"a,b\n1,2", transfer.ReadOptions{Format: transfer.CSV}, "a int64, b int64", "1|2"},
		"NoHeader": {"1;x\n", transfer.ReadOptions{Format: transfer.CSV, NoHeader: true, Delimiter: ';'},
			"column1 int64, column2 utf8", "1|x"},
		"Null":    {"a\nNA\n1\n", transfer.ReadOptions{Format: transfer.CSV, Null: "NA"}, "a int64", "(null)\n1"},
		"AllText": {"a\n1\n", transfer.ReadOptions{Format: transfer.CSV, AllText: true}, "a utf8", "1"},
		"TSV": {"a\tb\n\\N\tx\\ty\\\\n\n", transfer.ReadOptions{Format: transfer.TSV}, "a utf8, b utf8",
			"(null)|x\ty\\n"},
		"Known": {"price,id,b\n1.25,00000000-0000-0000-0000-000000000001,\\xff\n",
			transfer.ReadOptions{Format: transfer.CSV, Schema: known},
			"price decimal(10, 2), id fixed_size_binary[16], b binary", "1.25|AAAAAAAAAAAAAAAAAAAAAQ==|/w=="},
		"Lists": {"l,t,n\n\"[\"\"a\"\",null]\",\"[\"\"2026-01-31 10:00\"\"]\",\"[1.5,2]\"\n[],,[]\n",
			transfer.ReadOptions{Format: transfer.CSV, Schema: lists},
			"l list<item: utf8, nullable>, t list<item: timestamp[us], nullable>, n list<item: decimal(4, 2), nullable>",
			`["a",null]|["2026-01-31T10:00:00"]|["1.5","2"]` + "\n[]|(null)|[]"},
		"JSONLines": {`{"a":1,"b":{"c":[1]}}` + "\n" + `{"b":null,"d":"2026-01-31"}`,
			transfer.ReadOptions{Format: transfer.JSON},
			"a int64, b utf8, d date32", `1|{"c":[1]}|(null)` + "\n(null)|(null)|2026-01-31"},
		"JSONArray": {` [ {"a":12345678901234567}, {"a":2} ] `, transfer.ReadOptions{Format: transfer.JSON}, "a int64",
			"12345678901234567\n2"},
	} {
		t.Run(name, func(t *testing.T) {
			types, rows, err := read(t, test.text, test.o)
			if err != nil || types != test.types || rows != test.rows {
				t.Errorf("err = %v\ntypes %s, want %s\nrows\n%s\nwant\n%s", err, types, test.types, rows, test.rows)
			}
		})
	}
}

func TestBadTextHasItsPlace(t *testing.T) {
	numbers := strings.Repeat("1\n", 30_000)
	small := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int8}}, nil)
	csv, json := transfer.ReadOptions{Format: transfer.CSV}, transfer.ReadOptions{Format: transfer.JSON}
	for text, test := range map[string]struct {
		o    transfer.ReadOptions
		want string
	}{
		"a,b\n1\n":              {csv, "line 2: there are 1 values for 2 columns"},
		"a,b\n1,\"x\n":          {csv, "line 3, column 3: the quotes are never closed"},
		"a\n\"x\"y\n":           {csv, "line 2, column 4: there is something behind"},
		"":                      {csv, "the file is empty"},
		"a\n" + numbers + "x\n": {csv, `line 30002, column 1: "x" is no int64`},
		"a\n300\n": {transfer.ReadOptions{Format: transfer.CSV, Schema: small},
			`line 2, column 1: "300" is no int8`},
		`{"a":1}` + "\n" + `{"a"`: {json, "row 2, before byte"},
		`[{"a":1}, 2]`:            {json, "row 2 is no object"},
		`{}`:                      {json, "there are no columns"},
	} {
		if _, _, err := read(t, text, test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.20q: err = %v, want %s", text, err, test.want)
		}
	}
}

// sample has a column of every type that results have and files can hold.
func sample() arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "d", Type: &arrow.Decimal128Type{Precision: 20, Scale: 3}, Nullable: true},
		{Name: "t", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
		{Name: "u", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}, Nullable: true},
		{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	for _, f := range b.Fields() {
		f.AppendNull()
	}
	b.Field(0).(*array.Int64Builder).Append(7)
	b.Field(1).(*array.StringBuilder).Append("é")
	if err := b.Field(2).AppendValueFromString("12.345"); err != nil {
		panic(err)
	}
	b.Field(3).(*array.TimestampBuilder).Append(1)
	b.Field(4).(*array.FixedSizeBinaryBuilder).Append(bytes.Repeat([]byte{3}, 16))
	l := b.Field(5).(*array.ListBuilder)
	l.Append(true)
	l.ValueBuilder().(*array.Int64Builder).AppendValues([]int64{1, 2}, nil)
	return b.NewRecordBatch()
}

func TestBinaryFormatsKeepRows(t *testing.T) {
	for _, name := range []string{"x.parquet", "x.arrow", "x.arrow.gz", "x.arrow.zst"} {
		file := filepath.Join(t.TempDir(), name)
		out, err := transfer.NewOutput(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		format, err := transfer.FormatOf("", file)
		if err != nil {
			t.Fatal(err)
		}
		want := sample()
		w, err := transfer.NewWriter(out, want.Schema(), format)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s is there before it is whole", name)
		}
		if err := out.Commit(); err != nil {
			t.Fatal(err)
		}
		r, err := transfer.Open(t.Context(), file, nil, transfer.ReadOptions{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Next() {
			t.Fatalf("%s has no rows: %v", name, r.Err())
		}
		got := r.RecordBatch()
		for i := range got.NumCols() {
			if !array.Equal(got.Column(int(i)), want.Column(int(i))) {
				t.Errorf("%s: column %d is %v, want %v", name, i, got.Column(int(i)), want.Column(int(i)))
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPackedText(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.csv.gz")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte("a\n1\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := transfer.Open(t.Context(), file, nil, transfer.ReadOptions{Format: transfer.CSV})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !r.Next() || r.RecordBatch().NumRows() != 1 {
		t.Errorf("no row: %v", r.Err())
	}
}

func TestDiscardedOutputLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	out, err := transfer.NewOutput(filepath.Join(dir, "x.csv"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	if err := out.Discard(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("err = %v, left %v", err, left)
	}
}

func TestFormatOf(t *testing.T) {
	for file, want := range map[string]transfer.Format{"a.csv": "csv", "A.CSV.GZ": "csv", "x.ndjson.zst": "json",
		"p.pq":     "parquet",
		"s.arrows": "arrow", "t.tab": "tsv"} {
		if got, err := transfer.FormatOf("", file); got != want || err != nil {
			t.Errorf("FormatOf(%s) = %s, %v", file, got, err)
		}
	}
	if _, err := transfer.FormatOf("", "-"); err == nil {
		t.Error("standard input says no format")
	}
	if _, err := transfer.FormatOf("xml", "a.csv"); err == nil {
		t.Error("there is no XML")
	}
}
