package server

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"kalamflight/internal/fault"
)

// ByteCount is a number of bytes that people write as 512MiB, 1GB or 1000.
type ByteCount int64

// String is the number with the largest binary unit that leaves it whole.
func (b ByteCount) String() string {
	for _, u := range []struct {
		name  string
		shift int
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if b != 0 && int64(b)%(1<<u.shift) == 0 {
			return strconv.FormatInt(int64(b)>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// UnmarshalText reads a number with an optional unit: B, KB, KiB and so on up to TiB, in any case.
func (b *ByteCount) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	end := strings.LastIndexAny(s, "0123456789.") + 1
	unit, ok := unitBytes(strings.ToUpper(strings.TrimSpace(s[end:])))
	number, err := strconv.ParseFloat(s[:end], 64)
	if bytes := number * unit; !ok || err != nil || bytes < 0 || bytes >= math.MaxInt64 {
		return fmt.Errorf("%q is not a number of bytes such as 512MiB: %w", s, fault.ErrInvalid)
	}
	*b = ByteCount(number * unit)
	return nil
}

func unitBytes(name string) (float64, bool) {
	if name == "" || name == "B" {
		return 1, true
	}
	power := strings.IndexByte("KMGT", name[0]) + 1
	switch name[1:] {
	case "", "IB":
		return math.Pow(1024, float64(power)), power > 0
	case "B":
		return math.Pow(1000, float64(power)), power > 0
	}
	return 0, false
}
