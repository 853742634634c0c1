package plot

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/tool/simulate"
)

// Sizes, in CSS pixels.
const (
	panelWidth  = 440
	panelHeight = 190
	axisWidth   = 58 // of a panel's width
	axisHeight  = 36 // of a panel's height
	titleHeight = 18 // likewise
	gap         = 20
	top         = 84
	legendLine  = 10
)

// style is for light and dark pages. The colours can be distinguished by people with
// colour blindness (Okabe and Ito).
const style = `
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.column { font-weight: 600 }
.page { fill: #ffffff }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.event { stroke: #818b98; stroke-width: 1; stroke-dasharray: 3 3 }
.line { fill: none; stroke-width: 1.5; stroke-linejoin: round }
.band { opacity: 0.18; stroke: none }
.p0 { stroke: #d55e00; fill: #d55e00 }
.p1 { stroke: #0072b2; fill: #0072b2 }
.p2 { stroke: #009e73; fill: #009e73 }
.p3 { stroke: #cc79a7; fill: #cc79a7 }
.p4 { stroke: #e69f00; fill: #e69f00 }
.p5 { stroke: #56b4e9; fill: #56b4e9 }
.line { fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.page { fill: #0d1117 }
.grid { stroke: #3d444d }
.event { stroke: #9198a1 }
.p1 { stroke: #4aa8e0; fill: #4aa8e0 }
.line { fill: none }
.band { opacity: 0.3 }
}
`

const colours = 6

// panel is where one quantity is drawn.
type panel struct {
	x, y    int     // of its upper left corner
	seconds float64 // at its right end
	most    float64 // at its upper end, at least
}

func (p *panel) left() int   { return p.x + axisWidth }
func (p *panel) right() int  { return p.x + panelWidth }
func (p *panel) upper() int  { return p.y + titleHeight }
func (p *panel) bottom() int { return p.y + panelHeight - axisHeight }

func (p *panel) atTime(seconds float64) float64 {
	return float64(p.left()) + seconds/p.seconds*float64(p.right()-p.left())
}

func (p *panel) atValue(v float64) float64 {
	_, highest := ticks(p.most, 4)
	return float64(p.bottom()) - v/highest*float64(p.bottom()-p.upper())
}

// ticks returns a round step for about so many ticks, and the last tick, which is the
// first that is not below most.
func ticks(most float64, about int) (step, last float64) {
	if most <= 0 {
		return 1, 1
	}
	rough := most / float64(about)
	step = math.Pow(10, math.Floor(math.Log10(rough)))
	for _, by := range []float64{1, 2, 5, 10} {
		if step*by >= rough*(1-1e-9) {
			step *= by
			break
		}
	}
	return step, step * math.Ceil(most/step-1e-9)
}

func (d *drawing) axes(p panel, title string) {
	d.text(p.left(), p.y+12, "", "start", title)
	step, last := ticks(p.most, 4)
	for i := 0; float64(i)*step <= last*1.0001; i++ {
		v := float64(i) * step
		y := p.atValue(v)
		d.printf(`<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`+"\n", p.left(), y, p.right(), y)
		d.text(p.left()-6, int(y)+4, "", "end", number(v))
	}
	unit, word := 1.0, "s"
	if p.seconds > 180 {
		unit, word = 60, "min"
	}
	step, _ = ticks(p.seconds/unit, 6)
	for t := 0.0; t*unit <= p.seconds*1.0001; t += step {
		label := number(t)
		if t == 0 {
			label += " " + word
		}
		d.text(int(p.atTime(t*unit)), p.bottom()+16, "", "middle", label)
	}
}

// number formats 20000 as 20,000, and 0.5 unchanged.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	whole, _, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// events marks when something happened to the backends.
func (d *drawing) events(p panel, at []simulate.Seconds) {
	for _, t := range at {
		if x := p.atTime(float64(t)); float64(t) <= p.seconds {
			d.printf(`<line class="event" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", x, p.upper(), x, p.bottom())
		}
	}
}

// series draws a quantity of one run: as a line, or as a band between two lines.
func (d *drawing) series(p panel, colour int, q quantity, seconds []simulate.Second, r *simulate.Report) {
	// More points than pixels can't be seen.
	per := max(1, (len(seconds)+panelWidth-axisWidth-1)/(panelWidth-axisWidth))
	var high, low curve
	for i := 0; i < len(seconds); i += per {
		least, most := q.of(seconds[i], r)
		for _, s := range seconds[i+1 : min(i+per, len(seconds))] {
			l, m := q.of(s, r)
			least, most = min(least, l), max(most, m)
		}
		if q.lower {
			most = least
		}
		x := p.atTime(float64(i + 1))
		high.add(x, p.atValue(most))
		low.add(x, p.atValue(least))
	}
	class := "p" + strconv.Itoa(colour%colours)
	d.printf(`<polyline class="%s line" points="%s"/>`+"\n", class, strings.Join(high.points, " "))
	if !q.band {
		return
	}
	d.printf(`<polyline class="%s line" points="%s"/>`+"\n", class, strings.Join(low.points, " "))
	slices.Reverse(low.points)
	d.printf(`<polygon class="band %s" points="%s %s"/>`+"\n", class, strings.Join(high.points, " "), strings.Join(low.points, " "))
}

// curve is the points of a line, without those in the middle of a horizontal part.
type curve struct {
	points []string
	level  string // the y of the last point
	flat   bool   // and of the one before it
}

func (c *curve) add(x, y float64) {
	at := strconv.FormatFloat(y, 'f', 1, 64)
	point := strconv.FormatFloat(x, 'f', 1, 64) + "," + at
	same := at == c.level && len(c.points) > 0
	if same && c.flat {
		c.points[len(c.points)-1] = point
	} else {
		c.points = append(c.points, point)
	}
	c.flat, c.level = same, at
}

// legend names the pools beside their colours, on a second line if they need more than width.
func (d *drawing) legend(x, y, width int, pools []string) {
	left := x
	for i, name := range pools {
		if x+20+7*len([]rune(name)) > width && x > left {
			x, y = left, y+14
		}
		d.printf(`<rect class="p%d" x="%d" y="%d" width="14" height="6" stroke="none"/>`+"\n", i%colours, x, y-7)
		d.text(x+20, y, "", "start", name)
		x += 40 + 7*len([]rune(name))
	}
}
