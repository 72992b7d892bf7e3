package blob

// Mem keeps blobs in memory and forgets, on Crash, what was not durable: for tests. The zero value is not usable; NewMem makes one.
type Mem struct{}

// NewMem is an empty bucket.
func NewMem() *Mem { return &Mem{} }
