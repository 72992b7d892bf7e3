package exec

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// seriesMorsel is how many rows of a long series one worker makes at a time; a series of fewer than seriesLong rows
// comes in order.
const (
	seriesMorsel = 128 << 10
	seriesLong   = 1 << 20
)

// tableFuncOp is generate_series, range or unnest of a constant.
type tableFuncOp struct {
	opInfo
	exec *execution
	node *plan.TableFunc
}

func (b *builder) buildTableFunc(n *plan.TableFunc) (operator, error) {
	switch n.Name {
	case "generate_series", "range", "unnest":
	default:
		return nil, &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000", Message: "the table function " + n.Name +
			" is not supported"}
	}
	if len(n.Args) == 0 || len(n.Cols) == 0 {
		return nil, fmt.Errorf("call %s: the plan is not sound", n.Name)
	}
	op := &tableFuncOp{exec: b.exec, node: n}
	op.name, op.detail, op.cols = "Table function", n.Name+"("+exprsText(n.Args, nil)+")", n.Cols
	return op, nil
}

func (o *tableFuncOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	args := make([]plan.Literal, len(o.node.Args))
	for i, e := range o.node.Args {
		l, err := literal(e, o.exec.env.Expr)
		if err != nil {
			return err
		}
		if l.Value == nil {
			return finishOnly(ctx, out)
		}
		args[i] = l
	}
	if o.node.Name == "unnest" {
		return o.unnest(ctx, args[0], out)
	}
	switch args[0].Type.Kind {
	case manifest.Timestamp, manifest.DateTime:
		return o.times(ctx, args, out)
	}
	return o.numbers(ctx, args, out)
}

func (o *tableFuncOp) unnest(ctx context.Context, l plan.Literal, out sink) error {
	list, ok := l.Value.([]any)
	if !ok || l.Type.Elem == nil {
		return unsupportedType("unnest", l.Type)
	}
	return o.exec.one(ctx, &o.opInfo, out, func(ctx context.Context, w *worker) error {
		for first := 0; first < len(list); first += chunkRows {
			part := list[first:min(first+chunkRows, len(list))]
			v, err := expr.NewVector(part, *l.Type.Elem)
			if err != nil {
				return err
			}
			if err := w.push(ctx, &expr.Batch{Len: len(part), Vectors: []*expr.Vector{v}}); err != nil {
				return err
			}
		}
		return nil
	})
}

// numbers is a series of integers: from args[0] (0 for range of one argument) by args[2] (1).
func (o *tableFuncOp) numbers(ctx context.Context, args []plan.Literal, out sink) error {
	var nums [3]int64
	for i, a := range args {
		n, ok := a.Value.(int64)
		if !ok || i >= len(nums) {
			return unsupportedType(o.node.Name, a.Type)
		}
		nums[i] = n
	}
	from, to, step := nums[0], nums[1], nums[2]
	if len(args) == 1 {
		from, to = 0, nums[0]
	}
	if len(args) < 3 {
		step = 1
	}
	if step == 0 {
		return zeroStep(o.node.Name)
	}
	count := seriesRows(from, to, step, o.node.Name == "generate_series")
	if count > math.MaxInt64 {
		return &fault.SQL{Kind: fault.ErrExhausted, Code: "54000", Message: o.node.Name + " has too many rows"}
	}
	tasks := int((count + seriesMorsel - 1) / seriesMorsel)
	workers := 1
	if count >= seriesLong {
		workers = tasks
	}
	return o.exec.each(ctx, &o.opInfo, tasks, workers, out, func(ctx context.Context, w *worker, i int) error {
		first := uint64(i) * seriesMorsel
		return o.pushNumbers(ctx, w, from, step, first, min(first+seriesMorsel, count))
	})
}

func zeroStep(name string) error {
	return &fault.SQL{Kind: fault.ErrInvalid, Code: "22023", Message: "the step of " + name + " must not be 0"}
}

// seriesRows counts the numbers from..to by step.
func seriesRows(from, to, step int64, inclusive bool) uint64 {
	if step > 0 && from > to || step < 0 && from < to || !inclusive && from == to {
		return 0
	}
	span, by := uint64(to)-uint64(from), uint64(step)
	if step < 0 {
		span, by = uint64(from)-uint64(to), -uint64(step)
	}
	n := span / by
	if inclusive || n*by < span {
		n++
	}
	return n
}

func (o *tableFuncOp) pushNumbers(ctx context.Context, w *worker, from, step int64, first, last uint64) error {
	t := o.node.Cols[0].Type
	wd := expr.Width(t)
	if wd == 0 || wd > 8 {
		return unsupportedType(o.node.Name, t)
	}
	b := w.batch(1)
	v := b.Vectors[0]
	for first < last {
		n := int(min(last-first, expr.VectorRows))
		reset(v, t)
		v.Fixed, v.Len, b.Len = grow(v.Fixed, n*wd), n, n
		for i := range n {
			x := from + int64(first+uint64(i))*step
			switch wd {
			case 2:
				expr.Values[int16](v)[i] = int16(x)
			case 4:
				expr.Values[int32](v)[i] = int32(x)
			default:
				expr.Values[int64](v)[i] = x
			}
		}
		if err := w.push(ctx, b); err != nil {
			return err
		}
		first += uint64(n)
	}
	return nil
}

// times is a series of timestamps by an interval, each made from the one before.
func (o *tableFuncOp) times(ctx context.Context, args []plan.Literal, out sink) error {
	if len(args) != 3 {
		return unsupportedType(o.node.Name, args[0].Type)
	}
	from, ok1 := args[0].Value.(int64)
	to, ok2 := args[1].Value.(int64)
	step, ok3 := args[2].Value.(arrow.MonthDayNanoInterval)
	if !ok1 || !ok2 || !ok3 {
		return unsupportedType(o.node.Name, args[0].Type)
	}
	zone := time.UTC
	if args[0].Type.Kind == manifest.DateTime && o.exec.env.Expr != nil && o.exec.env.Expr.Zone != nil {
		zone = o.exec.env.Expr.Zone
	}
	forward := addInterval(from, step, zone) > from
	if !forward && addInterval(from, step, zone) == from {
		return zeroStep(o.node.Name)
	}
	inclusive := o.node.Name == "generate_series"
	return o.exec.one(ctx, &o.opInfo, out, func(ctx context.Context, w *worker) error {
		values := make([]uint64, 0, expr.VectorRows)
		flush := func() error {
			v := &expr.Vector{Type: o.node.Cols[0].Type, Len: len(values), Fixed: bytesOf(values)}
			err := w.push(ctx, &expr.Batch{Len: len(values), Vectors: []*expr.Vector{v}})
			values = values[:0]
			return err
		}
		for at := from; forward && at < to || !forward && at > to || inclusive && at == to; {
			if values = append(values, uint64(at)); len(values) == expr.VectorRows {
				if err := flush(); err != nil {
					return err
				}
			}
			next := addInterval(at, step, zone)
			if next > at != forward || next == at {
				break
			}
			at = next
		}
		if len(values) == 0 {
			return nil
		}
		return flush()
	})
}

// addInterval adds an interval to microseconds since 1970: months first, kept within the month, then days, then time.
func addInterval(micros int64, d arrow.MonthDayNanoInterval, zone *time.Location) int64 {
	if d.Months != 0 || d.Days != 0 {
		t := time.UnixMicro(micros).In(zone)
		y, m, day := t.Date()
		months := int(m) - 1 + int(d.Months)
		y, m = y+floorDiv(months, 12), time.Month(months-12*floorDiv(months, 12)+1)
		if last := time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day(); day > last {
			day = last
		}
		hour, minute, sec := t.Clock()
		micros = time.Date(y, m, day+int(d.Days), hour, minute, sec, t.Nanosecond(), zone).UnixMicro()
	}
	return micros + d.Nanoseconds/1000
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
