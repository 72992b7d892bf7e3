package expr

import "kalamflight/engine/plan"

// anyOrAll is the kernel of x = ANY (list) and its kin, with SQL's NULLs: a comparison that decides the answer does so
// whatever else there is, one with NULL leaves it open.
func anyOrAll(all bool, op plan.CompareOp) maker {
	return func(b *binding) (kernel, error) {
		compare := orderOf(b.types[0])
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[byte](f, n)
			return f.each(n, sel, func(i int) error {
				if !args[1].IsValid(i) {
					f.setNull(i)
					return nil
				}
				child, from, to := args[1].span(i)
				open := false
				for j := from; j < to; j++ {
					if !args[0].IsValid(i) || !child.IsValid(j) {
						open = true
						continue
					}
					if holds(op, compare(args[0], i, child, j)) != all {
						out[i] = byte(one(!all))
						return nil
					}
				}
				if out[i] = byte(one(all)); open {
					f.setNull(i)
				}
				return nil
			})
		}, nil
	}
}

func quantifiedLibrary() map[string]maker {
	m := map[string]maker{}
	for name, op := range map[string]plan.CompareOp{"=": plan.Eq, "<>": plan.Ne, "<": plan.Lt, "<=": plan.Le,
		">": plan.Gt, ">=": plan.Ge} {
		m[name+"any"], m[name+"all"] = anyOrAll(false, op), anyOrAll(true, op)
	}
	return m
}
