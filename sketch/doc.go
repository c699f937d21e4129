// Package sketch counts values in mergeable sketches and answers quantiles of them.
//
// A [Grid] is a public list of buckets over the real line, and a [Binned] is one exact integer count
// for each of them. Because the grid never depends on the data, merging is addition: every order of
// merging gives the same bytes, [Binned.Subtract] undoes [Binned.Merge], and one value more changes one
// count by one. The last is what private release needs. A [Recorder] counts from many goroutines.
//
// A [KLL] needs no grid. It keeps some of the values, of which it answers quantiles with a bounded error of rank. Which
// ones it keeps depends on the data, so that it is for trusted questions only: nothing private is released from it.
//
// The packages below this one exchange sketches with OpenTelemetry (otlp), Prometheus (prom), DDSketch (ddsketch) and
// R's HistogramTools (histogramtools), and keep many of them in one file (dump).
package sketch
