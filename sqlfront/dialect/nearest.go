package dialect

// nearest is the word nearest to s, "" when none is near.
func nearest(s string, words []string) string {
	best, distance := "", 3
	if len(s) > 40 {
		return ""
	}
	for _, w := range words {
		if d := Distance(s, w); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// Distance is the number of letters to insert, delete, replace or swap with their neighbour to get from a to b.
func Distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	older, old, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range row {
		old[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, old, row = old, row, older
	}
	return old[len(y)]
}
