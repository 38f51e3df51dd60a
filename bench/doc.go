// Package bench is the module of the library's bars: the program failover
// measures them and writes results. With this package beside its only program,
// go build ./... checks the module instead of trying to write that program over
// its own directory.
package bench
