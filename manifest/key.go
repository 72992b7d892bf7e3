package manifest

import (
	"github.com/apache/arrow-go/v18/arrow"
)

// Keys are the encoded keys of the rows of a batch. It is immutable.
type Keys struct {
	bytes   []byte
	offsets []int32
}

// Len counts the keys.
func (k *Keys) Len() int { return max(len(k.offsets)-1, 0) }

// At is the key of row i; it shares memory with k.
func (k *Keys) At(i int) []byte { return k.bytes[k.offsets[i]:k.offsets[i+1]:k.offsets[i+1]] }

// KeyTypes are the types of the table's key columns, in key order.
func (t *Table) KeyTypes() []Type { return nil }

// EncodeKeys encodes the key of every row of the key columns, given in key order as stored Arrow arrays (dictionaries and Decimal64
// included). Encoded keys compare, byte by byte, like the keys they stand for; two keys are equal when their bytes are. A NULL is
// fault.ErrInvalid.
func EncodeKeys(types []Type, columns []arrow.Array) (*Keys, error) { return nil, nil }

// AppendKey appends the encoded key with these values (as Type describes them) to dst.
func AppendKey(dst []byte, types []Type, values []any) ([]byte, error) { return nil, nil }

// DecodeKey is the inverse of AppendKey.
func DecodeKey(types []Type, key []byte) ([]any, error) { return nil, nil }
