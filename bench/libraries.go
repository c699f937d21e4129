package main

// A library is one way to sketch values. Its functions loop over the values themselves, so that no call through an interface or a closure stands between
// the clock and an insert.
type library struct {
	name string
	ours bool
	// bounded says that the error of a value is bounded, relative to it; the others bound the error of its rank.
	bounded bool
	make    func() any
	// add inserts one value at a time; batch, if there is such a call, all at once.
	add, batch func(s any, xs []float64)
	// merge adds a sketch to another. nil: the library cannot.
	merge func(into, from any)
	// quantiles answers by the library's own estimate. nil: it has none; read answers then, untimed, from its buckets.
	quantiles, read func(s any, qs []float64) []float64
	// encode returns the library's own compact bytes.
	encode func(s any) []byte
	// note says what to know when comparing.
	note string
}

func libraries() []library { return append(ours(), peers()...) }

// must returns v, or ends the run.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
