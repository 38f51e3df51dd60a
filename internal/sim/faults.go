package sim

// Isolate cuts a node off from all others, both ways.
func (w *World) Isolate(i int) {
	w.note("isolate %s", Name(i))
	w.Net.Isolate(ip(i))
}

// Cut stops what goes from one node to another.
func (w *World) Cut(from, to int) {
	w.note("cut %s to %s", Name(from), Name(to))
	w.Net.Cut(ip(from), ip(to))
}

// Lose loses a fraction of all packets.
func (w *World) Lose(fraction float64) {
	w.note("lose %.3f of the packets", fraction)
	w.Net.SetLoss(fraction)
}

// Heal ends whatever is wrong with the network.
func (w *World) Heal() {
	w.note("heal the network")
	w.Net.Heal()
}
