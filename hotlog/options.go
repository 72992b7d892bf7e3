package hotlog

import (
	"fmt"
	"log/slog"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Options are the settings of a Log. Only Dir is required.
type Options struct {
	// Dir is the folder of the log on the local disk; it is made when missing, and locked against other processes.
	// Required.
	Dir string
	// FS is where the write-ahead log's files are; nil means the local disk, in Dir. bbolt's files are always in Dir.
	FS FS
	// Durability says what an acknowledgement means; the zero value is Sync.
	Durability Durability
	// FileBytes is the size of a write-ahead log file; 0 means 32 MiB. A larger commit gets a file of its own.
	FileBytes int64
	// BudgetBytes bounds the write-ahead log and with it what a start has to replay; 0 means 128 MiB. Beyond it the oldest
	// file is checkpointed into bbolt; beyond twice of it commits wait for the checkpoint.
	BudgetBytes int64
	// CommitBytes is the largest encoded commit; 0 means 64 MiB.
	CommitBytes int64
	// QueueBytes bounds what is enqueued and not yet durable; 0 means 64 MiB. Beyond it Enqueue waits.
	QueueBytes int64
	// Tablets is the greatest number of tablets with hot rows; 0 means 16 million.
	Tablets int
	// CacheBytes bounds the decoded Arrow batches that are kept for the next Scan; 0 means 256 MiB.
	CacheBytes int64
	// Ephemeral tells the tablets that are never checkpointed: a STREAM tablet with a short TTL is truncated before. nil
	// means none. It is called from a goroutine of the log and must not call back into it.
	Ephemeral func(manifest.TabletID) bool
	// UnsafeNoSync turns off every sync, of bbolt too. A power cut then loses and tears commits: it is the control of the
	// crash tests.
	UnsafeNoSync bool
	// Alloc makes the batches of Scan; nil means Go's allocator.
	Alloc memory.Allocator
	// Logger takes changes of state; nil means none.
	Logger *slog.Logger
}

// The limits of Options that are not settings.
const (
	fileBytesMin   = 16 << 10
	fileBytesMax   = 1 << 30
	commitBytesMax = 1 << 30
	queueCommits   = 1 << 16
	columnsMax     = 1 << 14
	changesMax     = 1 << 20
)

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, fmt.Errorf("hotlog: Options.Dir is required: %w", fault.ErrInvalid)
	}
	defaultTo(&o.FileBytes, 32<<20)
	defaultTo(&o.BudgetBytes, 128<<20)
	defaultTo(&o.CommitBytes, 64<<20)
	defaultTo(&o.QueueBytes, 64<<20)
	defaultTo(&o.CacheBytes, 256<<20)
	defaultTo(&o.Tablets, 16<<20)
	if o.FileBytes < fileBytesMin || o.FileBytes > fileBytesMax {
		return o, fmt.Errorf("hotlog: Options.FileBytes %d is not in %d..%d: %w", o.FileBytes, fileBytesMin, fileBytesMax,
			fault.ErrInvalid)
	}
	if o.CommitBytes < 0 || o.CommitBytes > commitBytesMax {
		return o, fmt.Errorf("hotlog: Options.CommitBytes %d is not in 1..%d: %w", o.CommitBytes, commitBytesMax,
			fault.ErrInvalid)
	}
	if o.BudgetBytes < 0 || o.QueueBytes < 0 || o.CacheBytes < 0 || o.Tablets < 0 {
		return o, fmt.Errorf("hotlog: a limit in Options is negative: %w", fault.ErrInvalid)
	}
	if o.Durability > Async {
		return o, fmt.Errorf("hotlog: durability %d: %w", o.Durability, fault.ErrInvalid)
	}
	o.FileBytes &^= 4095
	if o.Ephemeral == nil {
		o.Ephemeral = func(manifest.TabletID) bool { return false }
	}
	if o.Alloc == nil {
		o.Alloc = memory.NewGoAllocator()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func defaultTo[T int | int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
