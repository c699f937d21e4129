package policy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quietile/quietile/dp/prior"
	"github.com/quietile/quietile/dp/prior/learn"
	quietilev1 "github.com/quietile/quietile/proto/quietile/v1"
	"github.com/quietile/quietile/sketch"
	"github.com/quietile/quietile/sketch/dump"
)

const (
	// PublicPrior is the prior that is made of public records.
	PublicPrior = "public"
	// noFeatures says that a learner has none besides the constant and covariates.
	noFeatures = "none"
	// DefaultLearningShare is the part of a release's budget that the learner dp-ftrl takes.
	DefaultLearningShare = 0.1
	// seasonalWindow is the longest window for which the hour of the day is a feature by default.
	seasonalWindow = 12 * time.Hour
)

// Prior returns what a metric's releases take for a prior unless a question says otherwise: a learner's name, "public" or a description that [prior.Parse] reads.
func Prior(m *quietilev1.Metric) string {
	if p := m.GetRelease().GetPrior(); p != "" {
		return p
	}
	return learn.Proxy
}

// Robust returns the share of the robust part of a metric's priors.
func Robust(m *quietilev1.Metric) float64 {
	if r := m.GetRelease().GetRobust(); r != 0 {
		return r
	}
	return prior.DefaultRobust
}

// LearningShare returns the part of a release's budget that the learner dp-ftrl takes.
func LearningShare(m *quietilev1.Metric) float64 {
	if s := m.GetRelease().GetLearningShare(); s != 0 {
		return s
	}
	return DefaultLearningShare
}

// Learner returns how a learner, one of [learn.Learners], learns the priors of a metric. The hour of the day is a feature of windows of at most 12 hours, unless the policy says which are.
func Learner(m *quietilev1.Metric, name string) learn.Config {
	r := m.GetRelease()
	c := learn.Config{Learner: name, Features: r.GetFeatures(), Covariates: r.GetCovariates(), Robust: Robust(m)}
	if name == learn.Proxy {
		c.Optimiser = r.GetOptimiser()
	}
	switch {
	case slices.Equal(c.Features, []string{noFeatures}):
		c.Features = nil
	case len(c.Features) == 0 && time.Duration(m.GetWindowNanos()) <= seasonalWindow:
		c.Features = []string{learn.Hour}
	}
	return c
}

// validateRelease checks what a metric says of its priors.
func validateRelease(m *quietilev1.Metric, g *sketch.Grid) error {
	r := m.GetRelease()
	if r == nil {
		return nil
	}
	name := Prior(m)
	if o := r.GetOptimiser(); o != "" && !slices.Contains(learn.Optimisers, o) {
		return fmt.Errorf("release.optimiser %q is not one of %s", o, strings.Join(learn.Optimisers, ", "))
	}
	if s := r.GetLearningShare(); s != 0 && !(s > 0 && s < 1) {
		return fmt.Errorf("release.share %v is not in (0, 1)", s)
	}
	if err := Learner(m, learn.Proxy).Validate(); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	switch {
	case name == PublicPrior:
		s, err := sketch.FromProto(r.GetPublic())
		if err != nil {
			return fmt.Errorf("release.prior public:%s: %w", r.GetPublicName(), err)
		}
		if !s.Grid().Equal(g) {
			return fmt.Errorf("release.prior public:%s is on grid %v, and not on the metric's, %v", r.GetPublicName(), s.Grid(), g)
		}
		if _, err := prior.Public(r.GetPublicName(), s, m.GetRecords(), Robust(m)); err != nil {
			return fmt.Errorf("release.prior: %w", err)
		}
	case r.GetPublic() != nil:
		return fmt.Errorf("release.public is given, and release.prior is %q", name)
	case slices.Contains(learn.Learners, name):
	default:
		p, err := prior.Parse(name)
		if err != nil {
			return fmt.Errorf("release.prior %q: %w", name, err)
		}
		if _, err := p.Weights(g); err != nil {
			return fmt.Errorf("release.prior %q: %w", name, err)
		}
	}
	return nil
}

// release reads what a metric says of its priors. A public data set is named, and read by [ParseFile].
func (d *decoder) release(f field) *quietilev1.ReleasePolicy {
	fields := d.fields(f, "prior", "robust", "optimiser", "features", "covariates", "share")
	r := new(quietilev1.ReleasePolicy)
	if p := fields["prior"]; p.given() {
		r.Prior = d.text(p)
		if file, ok := strings.CutPrefix(r.GetPrior(), PublicPrior+":"); ok {
			r.Prior, r.PublicName = PublicPrior, file
		} else if r.GetPrior() == PublicPrior {
			d.refuse(p, "is %q, without a file: public:people.qtd", PublicPrior)
		}
	}
	if p := fields["robust"]; p.given() {
		if r.Robust = d.number(p); !(r.GetRobust() > 0 && r.GetRobust() <= 1) {
			d.refuse(p, "is %v, not in (0, 1]", r.GetRobust())
		}
	}
	if p := fields["optimiser"]; p.given() {
		r.Optimiser = d.text(p)
	}
	for _, p := range d.items(fields["features"]) {
		r.Features = append(r.Features, d.text(p))
	}
	for _, p := range d.items(fields["covariates"]) {
		r.Covariates = append(r.Covariates, d.text(p))
	}
	if p := fields["share"]; p.given() {
		if r.LearningShare = d.number(p); !(r.GetLearningShare() > 0 && r.GetLearningShare() < 1) {
			d.refuse(p, "is %v, not in (0, 1)", r.GetLearningShare())
		}
	}
	return r
}

// formatRelease writes what [decoder.release] reads. The records of a public data set are not written, but the name of the file they came from.
func formatRelease(r *quietilev1.ReleasePolicy) string {
	var fields []string
	add := func(name, value string) { fields = append(fields, name+": "+value) }
	if r.GetPrior() == PublicPrior {
		add("prior", strconv.Quote(PublicPrior+":"+r.GetPublicName()))
	} else if r.GetPrior() != "" {
		add("prior", strconv.Quote(r.GetPrior()))
	}
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	if r.GetRobust() != 0 {
		add("robust", number(r.GetRobust()))
	}
	if r.GetOptimiser() != "" {
		add("optimiser", r.GetOptimiser())
	}
	list := func(name string, all []string) {
		if len(all) == 0 {
			return
		}
		quoted := make([]string, len(all))
		for i, s := range all {
			quoted[i] = strconv.Quote(s)
		}
		add(name, "["+strings.Join(quoted, ", ")+"]")
	}
	list("features", r.GetFeatures())
	list("covariates", r.GetCovariates())
	if r.GetLearningShare() != 0 {
		add("share", number(r.GetLearningShare()))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// readPublic reads the public records that metrics name, from dumps of sketches in a folder, and adds them up.
func readPublic(p *quietilev1.Policy, folder string) error {
	for _, m := range p.GetMetrics() {
		r := m.GetRelease()
		if r.GetPrior() != PublicPrior {
			continue
		}
		path := r.GetPublicName()
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		s, err := readSum(path)
		if err != nil {
			return fmt.Errorf("metric %q: release.prior public:%s: %w", m.GetName(), r.GetPublicName(), err)
		}
		r.Public = s.Proto()
	}
	return nil
}

// readSum adds up the sketches of a dump.
func readSum(path string) (sum *sketch.Binned, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	records := dump.NewReader(f)
	for {
		record, err := records.Next()
		switch {
		case errors.Is(err, io.EOF) && sum == nil:
			return nil, errors.New("the dump has no sketch")
		case errors.Is(err, io.EOF):
			return sum, nil
		case err != nil:
			return nil, err
		case sum == nil:
			sum = record.Sketch
		default:
			if err := sum.Merge(record.Sketch); err != nil {
				return nil, err
			}
		}
	}
}
