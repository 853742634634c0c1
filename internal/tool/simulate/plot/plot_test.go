package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/tool/simulate"
)

func report() *simulate.Report {
	r := &simulate.Report{Name: `Half <of> "it" & more`, Duration: 600, Sessions: 1000, Events: []simulate.Seconds{60, 9999}}
	for _, pool := range []string{"plain", "a&b"} {
		for _, clients := range []string{"once", "again"} {
			s := &simulate.Result{Pool: pool, Clients: clients}
			for i := range 600 {
				s.Series = append(s.Series, simulate.Second{Fullest: i % 37, SessionsMin: i, SessionsMax: 2 * i, Connected: 1000 - i})
			}
			r.Results = append(r.Results, s)
		}
	}
	return r
}

// count counts the elements of a picture, which must be well-formed.
func count(t *testing.T, svg []byte) map[string]int {
	t.Helper()
	elements := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
		}
	}
}

func TestSVG(t *testing.T) {
	r := report()
	svg := SVG(r)
	elements := count(t, svg)
	// Two columns of three panels with two pools each; a band has two lines.
	if elements["polyline"] != 16 || elements["polygon"] != 4 {
		t.Errorf("%v", elements)
	}
	if n := bytes.Count(svg, []byte(`class="event"`)); n != 6 {
		t.Errorf("%d marks of events, want one in each panel", n)
	}
	for _, text := range []string{"Half &lt;of&gt;", "clients: once", "a&amp;b", "prefers-color-scheme: dark", "0 min"} {
		if !bytes.Contains(svg, []byte(text)) {
			t.Errorf("no %q in the picture", text)
		}
	}
	again := SVG(r)
	if !bytes.Equal(svg, again) {
		t.Error("the same report gives another picture")
	}
}

// All that is drawn is inside the picture, and so are its numbers.
func TestPointsAreInside(t *testing.T) {
	svg := string(SVG(report()))
	size := regexp.MustCompile(`viewBox="0 0 (\d+) (\d+)"`).FindStringSubmatch(svg)
	width, _ := strconv.ParseFloat(size[1], 64)
	height, _ := strconv.ParseFloat(size[2], 64)
	n := 0
	for _, m := range regexp.MustCompile(`points="([^"]+)"`).FindAllStringSubmatch(svg, -1) {
		for _, point := range strings.Fields(m[1]) {
			xs, ys, _ := strings.Cut(point, ",")
			x, errX := strconv.ParseFloat(xs, 64)
			y, errY := strconv.ParseFloat(ys, 64)
			if errX != nil || errY != nil || x < 0 || x > width || y < 0 || y > height {
				t.Fatalf("the point %q is outside of %v×%v", point, width, height)
			}
			n++
		}
	}
	if n < 1000 {
		t.Errorf("only %d points", n)
	}
}

func TestNothingToDraw(t *testing.T) {
	count(t, SVG(&simulate.Report{Duration: 1, Sessions: 1, Results: []*simulate.Result{{Pool: "p", Clients: "c"}}}))
	count(t, SVG(&simulate.Report{Duration: 1}))
}

func TestTicks(t *testing.T) {
	for _, c := range []struct{ most, step, last float64 }{
		{0, 1, 1}, {1, 0.5, 1}, {100, 50, 100}, {101, 50, 150}, {377, 100, 400}, {1e6, 500_000, 1e6}, {9, 5, 10}, {8, 2, 8},
	} {
		if step, last := ticks(c.most, 4); step != c.step || last != c.last {
			t.Errorf("ticks up to %v are at multiples of %v up to %v, want %v and %v", c.most, step, last, c.step, c.last)
		}
	}
}
