package tablet

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Write is what Store.Commit takes to commit the draft: what is left of its steps once they are folded into one. The
// rows that it ends are refused with fault.ErrConflict when another commit ended them first, and so are its keys when
// another commit took them.
func (d *Draft) Write() Write { return Write{Tablet: d.tablet, AsOf: d.asOf, draft: d} }

// Ends tells whether committing the draft ends rows of other commits, for which the caller takes Store.Exclusive.
func (d *Draft) Ends() bool {
	d.st.mu.Lock()
	defer d.st.mu.Unlock()
	for ref := range d.ended {
		if !d.owns(ref) {
			return true
		}
	}
	return false
}

// fold makes the write of a draft's steps: their rows that live, and the committed rows that they ended. A row that
// came and went is left out, and one that was replaced twice is replaced once. The caller of Commit holds Exclusive if
// the draft ends rows, so that the refs stay what they are.
func (p *pendingWrite) fold() error {
	d, st := p.draft, p.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if d.closed {
		return fmt.Errorf("the draft is closed: %w", fault.ErrInvalid)
	}
	if d.st != st {
		return errDropped()
	}
	if d.lost {
		return conflict(d.tablet.Table)
	}
	steps, err := st.store.widenSteps(d.tablet.Table, d.retainSteps())
	defer func() { releaseSteps(steps) }()
	if err != nil {
		return err
	}
	replaced := map[manifest.RowRef]struct{}{}
	var inserts, replaces []piece
	p.SameKeys = true
	for i := range steps {
		s := &steps[i]
		p.SameKeys = p.SameKeys && !s.moves
		if s.rows == nil {
			continue
		}
		for k := range s.rows.len() {
			ref := manifest.RowRef{Seq: s.seq, Ordinal: uint32(k)}
			if _, gone := d.ended[ref]; gone {
				continue
			}
			if from, ok := d.origin[ref]; ok {
				replaced[from] = struct{}{}
				p.Replace = append(p.Replace, from)
				replaces = extend(replaces, s.rows, k)
			} else {
				inserts = extend(inserts, s.rows, k)
			}
		}
	}
	p.foldBig(d, replaced)
	for i := range d.steps {
		for _, m := range d.steps[i].marks {
			if _, ok := replaced[m.Target]; !ok && !d.owns(m.Target) {
				p.Delete = append(p.Delete, m.Target)
			}
		}
	}
	return p.gatherFolded(inserts, replaces)
}

// extend adds a row to pieces.
func extend(pieces []piece, rows *hotRows, row int) []piece {
	if n := len(pieces); n > 0 && pieces[n-1].rows == rows && pieces[n-1].end == row {
		pieces[n-1].end++
		return pieces
	}
	return append(pieces, piece{rows, row, row + 1})
}

// foldBig makes one big insert of the draft's.
func (p *pendingWrite) foldBig(d *Draft, replaced map[manifest.RowRef]struct{}) {
	if len(d.bigs) == 0 {
		return
	}
	p.big, p.bigOver = &bigInsert{}, &overrides{}
	starts := map[manifest.SegmentID]int{}
	for _, b := range d.bigs {
		for _, g := range b.segments {
			starts[g.ID] = int(p.big.rows)
			p.big.rows += g.Rows
		}
		p.big.segments = append(p.big.segments, b.segments...)
	}
	for ref := range d.ended {
		if start, ok := starts[ref.Segment]; ok {
			p.bigOver.skip = put(p.bigOver.skip, start+int(ref.Row), true)
		}
	}
	for ref, from := range d.origin {
		start, ok := starts[ref.Segment]
		if _, gone := d.ended[ref]; ok && !gone {
			p.bigOver.over = put(p.bigOver.over, start+int(ref.Row), []manifest.RowRef{from})
			replaced[from] = struct{}{}
		}
	}
	p.big.keys = make([]keyList, len(p.indexes))
	for i, x := range p.indexes {
		p.big.keys[i] = d.bigKeys(x, p.bigOver.skip)
	}
}

// bigKeys are the keys of an index of the big inserts that are held, without those of skipped rows. An insert that is
// older than the index has none: who added the index has looked at its rows.
func (d *Draft) bigKeys(index manifest.Index, skip map[int]bool) (all keyList) {
	first := 0
	for _, b := range d.bigs {
		var keys keyList
		is := func(x manifest.Index) bool { return x.ID == index.ID && slices.Equal(x.Columns, index.Columns) }
		if i := slices.IndexFunc(b.indexes, is); i >= 0 {
			keys = b.keys[i]
		}
		if b.primary != nil && b.primary.gone && keys == keyList(b.primary) {
			keys = nil // outgrown knows about them
		}
		if keys != nil && len(skip) > 0 {
			some := someKeys{all: keys}
			for i := range keys.Len() {
				if !skip[first+i] {
					some.at = append(some.at, i)
				}
			}
			keys = some
		}
		first += int(b.rows)
		switch {
		case keys == nil:
		case all == nil:
			all = keys
		default:
			all = keyRange{all, keys}
		}
	}
	return all
}

// someKeys are the keys of a list at some places.
type someKeys struct {
	all keyList
	at  []int
}

// Len counts the keys.
func (k someKeys) Len() int { return len(k.at) }

// At is one of them.
func (k someKeys) At(i int) []byte { return k.all.At(k.at[i]) }

// gatherFolded copies the rows that are left into the batches of the write, with their keys.
func (p *pendingWrite) gatherFolded(inserts, replaces []piece) (err error) {
	t := p.Tablet.Table
	gathered := func(pieces []piece) (rows arrow.RecordBatch, keys []keyList, err error) {
		if len(pieces) == 0 {
			return nil, nil, nil
		}
		if rows, err = gather(p.st.store.alloc, pieces, newColumnSet(t.Columns)); err != nil {
			return nil, nil, err
		}
		keys, err = keysOf(t, p.indexes, rows)
		return rows, keys, err
	}
	if p.insert, p.insertKeys, err = gathered(inserts); err != nil {
		return err
	}
	p.replace, p.replaceKeys, err = gathered(replaces)
	return err
}
