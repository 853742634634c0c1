// Package plot draws the results of a simulation as an SVG picture.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"

	"github.com/holdfast-ws/holdfast/internal/tool/simulate"
)

// SVG draws a column for each kind of clients. It shows over time, for each pool, the
// handshakes of the fullest backend, the sessions of backends, and the clients that
// have a session. The picture is readable on light and on dark pages.
func SVG(r *simulate.Report) []byte {
	pools, columns := layout(r)
	d := &drawing{}
	width := len(columns)*(panelWidth+gap) + gap
	height := top + len(quantities)*(panelHeight+gap) + legendLine
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`,
		width, height, width, height, escaped(r.Name))
	d.printf("\n<style>%s</style>\n", style)
	d.printf(`<rect class="page" width="%d" height="%d"/>`+"\n", width, height)
	d.text(gap, 24, "title", "start", r.Name)
	d.legend(gap, 46, width, pools)
	for q, quantity := range quantities {
		most := 0.0
		for _, s := range r.Results {
			for _, second := range s.Series {
				_, high := quantity.of(second, r)
				most = max(most, high)
			}
		}
		for c, column := range columns {
			p := panel{x: gap + c*(panelWidth+gap), y: top + q*(panelHeight+gap), seconds: float64(r.Duration), most: most}
			if q == 0 {
				d.text(p.x+axisWidth, p.y-8, "column", "start", "clients: "+column)
			}
			d.axes(p, quantity.title)
			d.events(p, r.Events)
			for i, pool := range pools {
				if s := find(r, pool, column); s != nil {
					d.series(p, i, quantity, s.Series, r)
				}
			}
		}
	}
	d.printf("</svg>\n")
	return d.Bytes()
}

// quantity is one panel's values over time.
type quantity struct {
	title string
	// of returns the least and the most of one second.
	of func(s simulate.Second, r *simulate.Report) (least, most float64)
	// band draws both, lower draws the least, and otherwise the most is drawn.
	band, lower bool
}

var quantities = []quantity{
	{title: "handshakes/s at the fullest backend", of: func(s simulate.Second, _ *simulate.Report) (float64, float64) {
		return float64(s.Fullest), float64(s.Fullest)
	}},
	{title: "sessions of the emptiest and of the fullest backend", of: func(s simulate.Second, _ *simulate.Report) (float64, float64) {
		return float64(s.SessionsMin), float64(s.SessionsMax)
	}, band: true},
	{title: "clients that have a session, %", of: func(s simulate.Second, r *simulate.Report) (float64, float64) {
		share := 100 * float64(s.Connected) / float64(r.Sessions)
		return share, share
	}, lower: true},
}

// layout lists the pools and the kinds of clients, in order.
func layout(r *simulate.Report) (pools, clients []string) {
	seen := map[[2]string]bool{}
	for _, s := range r.Results {
		if key := [2]string{"pool", s.Pool}; !seen[key] {
			seen[key] = true
			pools = append(pools, s.Pool)
		}
		if key := [2]string{"clients", s.Clients}; !seen[key] {
			seen[key] = true
			clients = append(clients, s.Clients)
		}
	}
	return pools, clients
}

func find(r *simulate.Report, pool, clients string) *simulate.Result {
	for _, s := range r.Results {
		if s.Pool == pool && s.Clients == clients {
			return s
		}
	}
	return nil
}

// drawing is SVG text.
type drawing struct{ bytes.Buffer }

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(d, format, args...) }

func (d *drawing) text(x, y int, class, anchor, s string) {
	d.printf(`<text x="%d" y="%d" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, escaped(s))
}

func escaped(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s)) // a bytes.Buffer never fails
	return b.String()
}
