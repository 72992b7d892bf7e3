//go:build !(goexperiment.simd && amd64)

package expr

// vectorRange does nothing in a build without GOEXPERIMENT=simd: the caller's loop tests every row.
func vectorRange[T int16 | int32 | int64](_ []T, _ []uint16, _, _ uint64, _ int) (k, done int) {
	return 0, 0
}
