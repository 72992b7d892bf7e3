package pqdec

import (
	"encoding/binary"
	"math/bits"
)

func popcount(c byte) int { return bits.OnesCount8(c) }

// maxMiniblock bounds the values of a miniblock; writers use 32 or 64.
const maxMiniblock = 1 << 16

// delta reads DELTA_BINARY_PACKED.
type delta struct {
	b  []byte
	at int
	// perMini values a miniblock, minis miniblocks a block; left values are still to come in all.
	perMini, minis int
	left           int
	last           int64
	first          bool
	least          int64
	widths         []byte
	// mini is the next miniblock of the block; in the current one pending values begin at bit.
	mini, pending, bit int
	width              uint
}

// newDelta reads the header. total values must be no more than most.
func newDelta(b []byte, most int) (*delta, error) {
	d := &delta{b: b, first: true}
	block, okBlock := d.uvarint()
	minis, okMinis := d.uvarint()
	total, okTotal := d.uvarint()
	first, n := binary.Varint(d.b[d.at:])
	if !okBlock || !okMinis || !okTotal || n <= 0 {
		return nil, corrupt("delta header")
	}
	d.at += n
	if minis == 0 || minis > 1<<10 || block%minis != 0 || block/minis%8 != 0 || block/minis == 0 ||
		block/minis > maxMiniblock {
		return nil, corrupt("delta blocks of %d values in %d miniblocks", block, minis)
	}
	if total > uint64(most) {
		return nil, corrupt("delta stream of %d values where %d are expected", total, most)
	}
	d.perMini, d.minis, d.left, d.last = int(block/minis), int(minis), int(total), first
	d.mini = d.minis
	return d, nil
}

func (d *delta) uvarint() (uint64, bool) {
	x, n := binary.Uvarint(d.b[min(d.at, len(d.b)):])
	if n <= 0 {
		return 0, false
	}
	d.at += n
	return x, true
}

// next fills dst.
func (d *delta) next(dst []int64) error {
	if len(dst) > d.left {
		return corrupt("delta stream is cut short")
	}
	d.left -= len(dst)
	if d.first && len(dst) > 0 {
		dst[0] = d.last
		dst = dst[1:]
		d.first = false
	}
	for len(dst) > 0 {
		if d.pending == 0 {
			if err := d.miniblock(); err != nil {
				return err
			}
		}
		n := min(d.pending, len(dst))
		d.sum(dst[:n])
		d.pending -= n
		dst = dst[n:]
	}
	return nil
}

// sum decodes values of one miniblock.
func (d *delta) sum(dst []int64) {
	last, least := d.last, d.least
	if d.width == 0 {
		for i := range dst {
			last += least
			dst[i] = last
		}
		d.last = last
		return
	}
	unpack64(dst, d.b, d.bit, d.width)
	d.bit += len(dst) * int(d.width)
	for i, x := range dst {
		last += least + x
		dst[i] = last
	}
	d.last = last
}

// miniblock moves on to the next miniblock.
func (d *delta) miniblock() error {
	if d.mini == d.minis {
		least, n := binary.Varint(d.b[min(d.at, len(d.b)):])
		if n <= 0 || d.at+n+d.minis > len(d.b) {
			return corrupt("delta block is cut short")
		}
		d.at += n
		d.least = least
		d.widths = d.b[d.at : d.at+d.minis]
		d.at += d.minis
		d.mini = 0
	}
	d.width = uint(d.widths[d.mini])
	bytes := int(d.width) * d.perMini / 8
	if d.width > 64 || d.at+bytes > len(d.b) {
		return corrupt("delta miniblock is cut short")
	}
	d.mini++
	d.bit = d.at * 8
	d.at += bytes
	d.pending = d.perMini
	return nil
}

// end is where the bytes after the stream begin, once all values were read.
func (d *delta) end() int {
	// The miniblocks of the last block that hold no values have no bytes.
	return d.at
}
