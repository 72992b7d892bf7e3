package hotlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"kalamflight/internal/fault"
)

// The limits of Meta.
const (
	metaKeyBytes   = 4 << 10
	metaValueBytes = 64 << 20
	metaNameBytes  = 128
)

// Meta is a small durable map from strings to bytes, in a bbolt file of its own. It is safe for concurrent use.
type Meta struct {
	log  *Log
	name string
}

// Meta is the map of this name; it exists from its first Apply on.
func (l *Log) Meta(name string) *Meta { return &Meta{log: l, name: name} }

// Get returns a copy of a value.
func (m *Meta) Get(key string) (value []byte, found bool, err error) {
	err = m.log.meta.view(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(m.name))
		if b == nil {
			return nil
		}
		v := b.Get([]byte(key))
		if v == nil {
			return nil
		}
		found = true
		value, err = m.open(key, v)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("meta %s: %w", m.name, err)
	}
	return value, found, nil
}

// Scan calls f for every key with the prefix, in order, with a copy of its value. f is called outside of any
// transaction.
func (m *Meta) Scan(prefix string, f func(key string, value []byte) error) error {
	type item struct {
		key   string
		value []byte
	}
	var items []item
	err := m.log.meta.view(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(m.name))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			value, err := m.open(string(k), v)
			if err != nil {
				return err
			}
			items = append(items, item{string(k), value})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("meta %s: %w", m.name, err)
	}
	for _, i := range items {
		if err := f(i.key, i.value); err != nil {
			return err
		}
	}
	return nil
}

// open checks a stored value and copies it.
func (m *Meta) open(key string, v []byte) ([]byte, error) {
	if len(v) < 4 || binary.LittleEndian.Uint32(v) != checksum(v[4:]) {
		return nil, fmt.Errorf("value of %q: %w", key, fault.ErrCorrupt)
	}
	return append([]byte{}, v[4:]...), nil
}

// Apply puts and deletes, all or nothing, and durably when it returns. A key in both is put. After fault.ErrUnknown the
// log has stopped.
func (m *Meta) Apply(ctx context.Context, puts map[string][]byte, deletes []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.checkApply(puts, deletes); err != nil {
		return fmt.Errorf("meta %s: %w", m.name, err)
	}
	l := m.log
	l.mu.Lock()
	err := l.stateLocked()
	l.mu.Unlock()
	if err != nil || len(puts) == 0 && len(deletes) == 0 {
		return err
	}
	err = l.meta.update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(m.name))
		if err != nil {
			return err
		}
		for _, k := range deletes {
			if err := b.Delete([]byte(k)); err != nil {
				return err
			}
		}
		for _, k := range slices.Sorted(maps.Keys(puts)) {
			v := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(puts[k])), checksum(puts[k]))
			if err := b.Put([]byte(k), append(v, puts[k]...)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		// bbolt may have made it durable all the same.
		err = fmt.Errorf("meta %s: %w: %w", m.name, err, fault.ErrUnknown)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failLocked(err)
	}
	return err
}

func (m *Meta) checkApply(puts map[string][]byte, deletes []string) error {
	if m.name == "" || len(m.name) > metaNameBytes {
		return fmt.Errorf("name of %d bytes: %w", len(m.name), fault.ErrInvalid)
	}
	for k, v := range puts {
		if k == "" || len(k) > metaKeyBytes {
			return fmt.Errorf("key of %d bytes: %w", len(k), fault.ErrInvalid)
		}
		if len(v) > metaValueBytes {
			return fmt.Errorf("value of %q: %w", k, limit("bytes in a value", metaValueBytes))
		}
	}
	for _, k := range deletes {
		if k == "" || len(k) > metaKeyBytes {
			return fmt.Errorf("key of %d bytes: %w", len(k), fault.ErrInvalid)
		}
	}
	return nil
}
