# Reads histograms that "quietile hist convert --to proto" wrote, by the definition of HistogramTools.HistogramState in
# proto/histogramtools.proto, and says what is in them. From the root of the project, with R and RProtoBuf (in Debian:
# r-base-core, r-cran-rprotobuf):
#
#   quietile hist convert FILE --to proto -o FILE.pb
#   Rscript docs/histogramtools.R FILE.pb…
#
# HistogramTools itself is not needed. Where it is, as.histogram(message) takes the same message.

suppressMessages(library(RProtoBuf))
readProtoFiles("proto/histogramtools.proto")
state <- P("HistogramTools.HistogramState")

for (file in commandArgs(trailingOnly = TRUE)) {
  message <- read(state, file)
  stopifnot(isInitialized(message), length(message$breaks) == length(message$counts) + 1)

  # A histogram of R's own, whose hist() has the same fields.
  mids <- (head(message$breaks, -1) + tail(message$breaks, -1)) / 2
  total <- sum(message$counts)
  h <- structure(list(
    breaks = message$breaks, counts = message$counts, density = message$counts / total / diff(message$breaks),
    mids = mids, xname = message$name, equidist = diff(range(diff(message$breaks))) < 1e-7
  ), class = "histogram")

  cat(file, ": ", class(h), " \"", h$xname, "\", ", length(h$counts), " buckets, ", total, " values\n", sep = "")
  cat("  breaks  ", paste(format(h$breaks, trim = TRUE, drop0trailing = TRUE), collapse = " "), "\n", sep = "")
  cat("  counts  ", paste(h$counts, collapse = " "), "\n", sep = "")
  cat("  mean    ", format(weighted.mean(mids, h$counts), digits = 15), "\n", sep = "")
  cat("  largest share of a bucket, KSDCC: ", format(max(h$counts) / total, digits = 15), "\n", sep = "")
  cat("  mean width of a value's bucket over the whole, EMDCC: ",
      format(sum(h$counts * diff(h$breaks)) / total / diff(range(h$breaks)), digits = 15), "\n", sep = "")

  # What R writes of the same fields are the same bytes.
  again <- new(state)
  again$breaks <- h$breaks
  again$counts <- h$counts
  if (has(message, "name")) again$name <- h$xname
  same <- identical(serialize(again, NULL), readBin(file, "raw", file.size(file)))
  cat("  written again by R: ", if (same) "the same bytes" else "OTHER BYTES", "\n", sep = "")
  stopifnot(same)
}
