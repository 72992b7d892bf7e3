package engine

// The checks that a test can leave out (Options.UnsafeWithout), to show that what it looks at depends on them.
const (
	checkOwner      = "owner of the tablet"
	checkStatement  = "rights of the statement"
	checkActor      = "right to act"
	checkRead       = "policies of reads"
	checkWrite      = "policies of new rows"
	checkReplaced   = "policies of replaced rows"
	checkEvents     = "policies of events"
	checkEstimates  = "hidden estimates"
	checkCounts     = "hidden counts"
	checkSegments   = "hidden segments"
	checkMetadata   = "hidden columns"
	checkVisibility = "hidden tables"
)

// UnsafeChecks are the values of Options.UnsafeWithout.
func UnsafeChecks() []string {
	return []string{checkOwner, checkStatement, checkActor, checkRead, checkWrite, checkReplaced, checkEvents,
		checkEstimates, checkCounts, checkSegments, checkMetadata, checkVisibility}
}

// without tells whether a check is left out.
func (e *Engine) without(check string) bool { return e.opts.UnsafeWithout == check }
