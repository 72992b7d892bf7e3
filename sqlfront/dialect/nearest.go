package dialect

import "kalamflight/engine/functions"

// nearest is the word nearest to s, "" when none is near.
func nearest(s string, words []string) string {
	best, distance := "", 3
	if len(s) > 40 {
		return ""
	}
	for _, w := range words {
		if d := functions.Distance(s, w, distance); d < distance {
			best, distance = w, d
		}
	}
	return best
}
