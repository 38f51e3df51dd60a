package ring

// Reduce exposes the modulo for tests against %.
func (l *Locator) Reduce(sum uint64) int { return l.reduce(sum) }
