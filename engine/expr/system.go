package expr

import (
	"crypto/rand"
	"time"

	"kalamflight/internal/fault"
)

// constantText is the kernel of a function that answers with one text.
func constantText(fn func(*Env) string) maker {
	return func(b *binding) (kernel, error) {
		env := b.env
		if env == nil {
			env = &Env{}
		}
		s := fn(env)
		return writeText(false, func(dst []byte, _ []*Vector, _ int) ([]byte, error) { return append(dst, s...), nil }), nil
	}
}

func systemLibrary() map[string]maker {
	return map[string]maker{
		"current_user":     constantText(func(e *Env) string { return e.User }),
		"current_role":     constantText(func(e *Env) string { return e.Role }),
		"current_schema":   constantText(func(e *Env) string { return e.Namespace }),
		"current_database": constantText(func(*Env) string { return "kalam" }),
		"version": constantText(func(e *Env) string {
			if e.Version == "" {
				return "kalamflight"
			}
			return e.Version
		}),
		"typeof": func(b *binding) (kernel, error) {
			name := b.types[0].String()
			return writeText(false, func(dst []byte, _ []*Vector, _ int) ([]byte, error) { return append(dst, name...), nil }),
				nil
		},
		"uuid_v7": plain(func(f *frame, n int, sel []uint16, _ []*Vector) error {
			out := payload[[16]byte](f, n)
			return f.each(n, sel, func(i int) error { out[i] = uuid7(f.ticks()); return nil })
		}),
		"gen_random_uuid": plain(func(f *frame, n int, sel []uint16, _ []*Vector) error {
			out := payload[[16]byte](f, n)
			return f.each(n, sel, func(i int) error {
				rand.Read(out[i][:])
				out[i][6], out[i][8] = out[i][6]&0x0f|0x40, out[i][8]&0x3f|0x80
				return nil
			})
		}),
		"snowflake_id": func(b *binding) (kernel, error) {
			env := b.env
			return func(f *frame, n int, sel []uint16, _ []*Vector) error {
				if env == nil || env.NewID == nil {
					return fault.At(fault.ErrUnsupported, "0A000", "", -1, "snowflake_id has no source of numbers here")
				}
				out := payload[int64](f, n)
				return f.each(n, sel, func(i int) (err error) { out[i], err = env.NewID(); return err })
			}, nil
		},
		"ulid": plain(func(f *frame, n int, sel []uint16, _ []*Vector) error {
			out := f.strings(n)
			err := f.each(n, sel, func(i int) error {
				if err := out.begin(i); err != nil {
					return err
				}
				f.bytes = appendULID(f.bytes, f.ticks())
				return nil
			})
			if err != nil {
				return err
			}
			return out.end()
		}),
	}
}

// ticks orders the identifiers that one evaluator makes in the same millisecond.
type ticks struct{ last uint64 }

// next is a number of 48 bits of milliseconds and 12 bits of their fraction, never the same twice.
func (t *ticks) next(now time.Time) uint64 {
	t.last = max(t.last+1, uint64(now.UnixMilli())<<12|uint64(now.Nanosecond()%1e6)*4096/1e6)
	return t.last
}

// ticks is the order of the node's identifiers.
func (f *frame) ticks() *ticks {
	t, ok := f.state.(*ticks)
	if !ok {
		t = &ticks{}
		f.state = t
	}
	return t
}

// uuid7 is RFC 9562's UUID version 7: milliseconds, then a fraction in the 12 bits after the version, then random bits.
func uuid7(t *ticks) [16]byte {
	var u [16]byte
	rand.Read(u[8:])
	n := t.next(time.Now())
	ms, fraction := n>>12, n&0xfff
	for k := range 6 {
		u[k] = byte(ms >> (40 - 8*k))
	}
	u[6], u[7] = 0x70|byte(fraction>>8), byte(fraction)
	u[8] = u[8]&0x3f | 0x80
	return u
}

// appendULID writes 48 bits of milliseconds and 80 bits, of which the first 12 keep the order, in Crockford's base 32.
func appendULID(dst []byte, t *ticks) []byte {
	u := uuid7(t)
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	// After the milliseconds come the fraction's 12 bits without the version's 4, then random bits.
	u[6], u[7] = u[6]<<4|u[7]>>4, u[7]<<4|u[8]&0x0f
	rand.Read(u[8:])
	hi, lo := uint64(0), uint64(0)
	for k := range 8 {
		hi, lo = hi<<8|uint64(u[k]), lo<<8|uint64(u[8+k])
	}
	for shift := 125; shift >= 0; shift -= 5 {
		var five uint64
		switch {
		case shift >= 64:
			five = hi >> (shift - 64)
		case shift > 59:
			five = hi<<(64-shift) | lo>>shift
		default:
			five = lo >> shift
		}
		dst = append(dst, digits[five&31])
	}
	return dst
}
