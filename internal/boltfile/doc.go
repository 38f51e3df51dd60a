// Package boltfile looks at a bbolt file before bbolt does. Bbolt believes what
// its pages say: it falls back to an older transaction when the page of the newer
// one is damaged, and makes room for as many free pages as a damaged count says.
// For wasip1, where something without pages stands in for bbolt, there is nothing
// to look at.
package boltfile
