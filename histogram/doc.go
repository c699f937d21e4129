// Package histogram works on static histograms: breaks, and between each two neighbours of them a count.
//
// It does what the R package HistogramTools, version 0.3.2, does, and reads and writes its protobuf message. A
// [Histogram] is added, scaled, trimmed, merged, compared, asked and plotted (package histplot) without the values that it
// counts. What it can no longer say is measured too: [Histogram.KSDCC] and [Histogram.EMDCC] bound how far apart two data
// sets may be that it does not tell apart, [Histogram.Rebin] chooses buckets that lose least, and [AddOnto] adds histograms
// of different breaks and says what that costs.
//
// A bucket holds its upper break and not its lower one, and the first bucket holds both, as in R's hist(). Histograms from
// elsewhere may have it the other way round, and a histogram does not say which it is. Bounds hold either way.
//
// No function changes its arguments, and no result shares memory with them. All may be called from many goroutines as long
// as nobody changes the histograms.
package histogram
