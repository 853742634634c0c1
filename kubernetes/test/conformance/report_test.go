//go:build linux

package conformance

import (
	"os"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/apis/v1alpha2"
	"sigs.k8s.io/gateway-api/apis/v1alpha3"
	"sigs.k8s.io/gateway-api/apis/v1beta1"
	xv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/yaml"
)

// scheme has what the suite reads and writes.
func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientscheme.AddToScheme, apiextensionsv1.AddToScheme, gwv1.Install, v1beta1.Install, v1alpha3.Install, v1alpha2.Install, xv1alpha1.Install,
	} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// compare compares the report with the one in the repository, but for its date, or writes
// that.
func compare(t *testing.T, s *suite.ConformanceTestSuite) {
	report, err := s.Report()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(report.ProfileReports, func(a, b confv1.ProfileReport) int { return strings.Compare(a.Name, b.Name) })
	got, err := yaml.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if t.Failed() {
			t.Errorf("a test has failed, and the report stays as it was; it would be\n%s", got)
			return
		}
		if err := os.WriteFile(reportPath(t), got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(reportPath(t))
	if err != nil {
		t.Fatalf("%v: make it by make conformance", err)
	}
	if a, b := withoutDate(string(got)), withoutDate(string(want)); a != b {
		t.Errorf("the report isn't as in %s (make conformance writes it)\ngot:\n%s\nwant:\n%s", reportPath(t), a, b)
	}
}

func withoutDate(report string) string {
	var lines []string
	for line := range strings.Lines(report) {
		if !strings.HasPrefix(line, "date:") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
