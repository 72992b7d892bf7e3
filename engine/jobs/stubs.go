package jobs

// Scheduler runs jobs. It is safe for concurrent use.
type Scheduler struct{}

// New makes a scheduler; Start runs it.
func New(o Options) *Scheduler { return &Scheduler{} }

// Start begins to look for due tablets.
func (s *Scheduler) Start() {}

// Close ends the running jobs and waits for them.
func (s *Scheduler) Close() {}

// Kill ends a running job, or takes a queued one from the queue.
func (s *Scheduler) Kill(id string) error { return nil }

// List are the queued, running and last ended jobs, the newest first.
func (s *Scheduler) List() []Job { return nil }

// Stats counts.
func (s *Scheduler) Stats() Stats { return Stats{} }
