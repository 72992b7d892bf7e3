package segments

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments/pqenc"
)

// narrowDigits is the greatest precision of a DECIMAL that is stored as INT64; others take sixteen bytes.
const narrowDigits = 18

// stored is a column as it stands in a segment's file.
type stored struct {
	manifest.Column
	system bool
	// key: part of the primary key, so never NULL.
	key bool
	// indexed: part of any key: in small pages, and with a Bloom filter.
	indexed bool
	enc     pqenc.Column
}

// storedColumns lists the columns of a new segment: those of the table, then, unless fixed, the system columns.
func storedColumns(t *manifest.Table, fixed bool) ([]stored, error) {
	columns := make([]stored, 0, len(t.Columns)+3)
	for _, c := range t.Columns {
		columns = append(columns, stored{Column: c})
	}
	if !fixed {
		for _, id := range []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime} {
			c, _ := manifest.SystemColumn(id)
			columns = append(columns, stored{Column: c, system: true})
		}
	}
	for i := range columns {
		c := &columns[i]
		for _, id := range t.Key {
			c.key = c.key || id == c.ID
		}
		c.indexed = c.key
		for _, x := range t.Indexes {
			c.indexed = c.indexed || slices.Contains(x.Columns, c.ID)
		}
		var err error
		if c.enc, err = encoding(c.Type); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		// NOT NULL may be set and dropped while old rows stay, so only what can never be NULL is required.
		// Row versions that ended when ALTER wrote all rows anew may lack a key.
		c.enc.Optional = !c.system && (!c.key || t.Rewritten())
	}
	return columns, nil
}

// encoding is the physical form of a type.
func encoding(t manifest.Type) (pqenc.Column, error) {
	switch t.Kind {
	case manifest.Boolean:
		return pqenc.Column{Physical: parquet.Types.Boolean}, nil
	case manifest.SmallInt, manifest.Int, manifest.Date:
		return pqenc.Column{Physical: parquet.Types.Int32}, nil
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		return pqenc.Column{Physical: parquet.Types.Int64}, nil
	case manifest.Float:
		return pqenc.Column{Physical: parquet.Types.Float}, nil
	case manifest.Double:
		return pqenc.Column{Physical: parquet.Types.Double}, nil
	case manifest.Decimal:
		if t.Precision <= narrowDigits {
			return pqenc.Column{Physical: parquet.Types.Int64}, nil
		}
		return pqenc.Column{Physical: parquet.Types.FixedLenByteArray, Width: 16}, nil
	case manifest.Text, manifest.JSON, manifest.File, manifest.Bytes:
		return pqenc.Column{Physical: parquet.Types.ByteArray}, nil
	case manifest.UUID:
		return pqenc.Column{Physical: parquet.Types.FixedLenByteArray, Width: 16, Plain: true}, nil
	case manifest.Embedding:
		return pqenc.Column{Physical: parquet.Types.Float, List: int(t.Length), Plain: true}, nil
	case manifest.List:
		if t.Storable() {
			c, err := encoding(*t.Elem)
			c.Nested = true
			return c, err
		}
	}
	return pqenc.Column{}, fmt.Errorf("%s cannot be stored: %w", t, fault.ErrInvalid)
}

// logicalType is what a type is called in the file, nil when the physical type says it all.
func logicalType(t manifest.Type) schema.LogicalType {
	switch t.Kind {
	case manifest.SmallInt:
		return schema.NewIntLogicalType(16, true)
	case manifest.Decimal:
		return schema.NewDecimalLogicalType(t.Precision, t.Scale)
	case manifest.Text, manifest.File:
		return schema.StringLogicalType{}
	case manifest.JSON:
		return schema.JSONLogicalType{}
	case manifest.UUID:
		return schema.UUIDLogicalType{}
	case manifest.Date:
		return schema.DateLogicalType{}
	case manifest.Time:
		return schema.NewTimeLogicalType(false, schema.TimeUnitMicros)
	case manifest.Timestamp:
		return schema.NewTimestampLogicalType(false, schema.TimeUnitMicros)
	case manifest.DateTime:
		return schema.NewTimestampLogicalType(true, schema.TimeUnitMicros)
	}
	return schema.NoLogicalType{}
}

// systemBit is set in the ids of system columns and, since field ids are positive, left out in files.
const (
	systemBit     = 1 << 31
	firstSystemID = 0x7FFF_FF00
)

// fieldID is the id of a column in the file's schema.
func fieldID(id manifest.ColumnID) int32 { return int32(id &^ systemBit) }

// columnID is the column of a field id.
func columnID(field int32) manifest.ColumnID {
	if field >= firstSystemID {
		return manifest.ColumnID(field) | systemBit
	}
	return manifest.ColumnID(field)
}

// node is the column in the file's schema.
func (c *stored) node() (schema.Node, error) {
	repetition := parquet.Repetitions.Required
	if c.enc.Optional {
		repetition = parquet.Repetitions.Optional
	}
	if c.enc.List == 0 && !c.enc.Nested {
		return schema.NewPrimitiveNodeLogical(c.Name, repetition, logicalType(c.Type), c.enc.Physical, c.enc.Width,
			fieldID(c.ID))
	}
	element, err := c.elementNode()
	if err != nil {
		return nil, err
	}
	list, err := schema.NewGroupNode("list", parquet.Repetitions.Repeated, schema.FieldList{element}, -1)
	if err != nil {
		return nil, err
	}
	return schema.NewGroupNodeLogical(c.Name, repetition, schema.FieldList{list}, schema.ListLogicalType{}, fieldID(c.ID))
}

// elementNode is the elements of a column of lists: only those of lists of any length may be NULL.
func (c *stored) elementNode() (schema.Node, error) {
	if c.enc.Nested {
		return schema.NewPrimitiveNodeLogical("element", parquet.Repetitions.Optional, logicalType(*c.Type.Elem),
			c.enc.Physical, c.enc.Width, -1)
	}
	return schema.NewPrimitiveNode("element", parquet.Repetitions.Required, c.enc.Physical, -1, -1)
}

// fileSchema is the schema of a file with these columns.
func fileSchema(columns []stored) (*schema.Schema, error) {
	fields := make(schema.FieldList, len(columns))
	for i := range columns {
		var err error
		if fields[i], err = columns[i].node(); err != nil {
			return nil, fmt.Errorf("column %s: %w", columns[i].Name, err)
		}
	}
	root, err := schema.NewGroupNode("schema", parquet.Repetitions.Required, fields, -1)
	if err != nil {
		return nil, err
	}
	return schema.NewSchema(root), nil
}

// ColumnIDOf is the ColumnID in a field's metadata; ok is false when there is none.
func ColumnIDOf(f arrow.Field) (id manifest.ColumnID, ok bool) {
	text, ok := f.Metadata.GetValue(ColumnKey)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return manifest.ColumnID(n), err == nil
}

// Field is the Arrow field of a column in batches of this package and of the log: as the table has it, with the
// ColumnID in its metadata.
func Field(c manifest.Column) arrow.Field {
	f := c.Field()
	keys := append(append([]string(nil), f.Metadata.Keys()...), ColumnKey)
	values := append(append([]string(nil), f.Metadata.Values()...), strconv.FormatUint(uint64(c.ID), 10))
	f.Metadata = arrow.NewMetadata(keys, values)
	return f
}
