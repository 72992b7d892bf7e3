package flightsrv

import (
	"fmt"
	"strings"
	"testing"

	"kalamflight/engine/access"
)

// TestPlansKeepWhatIsUsed: plans that are found again outlive any number of others, which are bounded.
func TestPlansKeepWhatIsUsed(t *testing.T) {
	p := newPlans(8)
	often := planKey{role: access.RoleUser, text: "SELECT 1"}
	c := &compiled{}
	p.add(often, 1, c)
	for i := range 100 {
		p.add(planKey{role: access.RoleUser, text: fmt.Sprint(i)}, 1, &compiled{})
		if got := p.find(1, often); got != c {
			t.Fatalf("after %d others: got %p, want %p", i+1, got, c)
		}
	}
	if kept, hits, misses := p.counts(); kept > 8 || hits != 100 || misses != 0 {
		t.Errorf("%d plans, %d hits, %d misses", kept, hits, misses)
	}
	if p.find(2, often) != nil {
		t.Error("a plan of an older catalog was found")
	}
	other := often
	other.role = access.RoleDBA
	if p.find(1, other) != nil {
		t.Error("the plan of another role was found")
	}
	long := planKey{text: strings.Repeat("x", plansTextMax+1)}
	if p.add(long, 1, c); p.find(1, long) != nil {
		t.Error("a long text was kept")
	}
}
