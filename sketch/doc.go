// Package sketch counts values into buckets that are fixed beforehand.
//
// A [Grid] is a public list of buckets over the real line, and a [Binned] is one exact integer count
// for each of them. Because the grid never depends on the data, merging is addition: every order of
// merging gives the same bytes, [Binned.Subtract] undoes [Binned.Merge], and one value more changes one
// count by one. The last is what private release needs.
package sketch
