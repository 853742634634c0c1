// Command hub measures the package hub beside centrifuge, a library for the same purpose.
// Both do the same work, with a Redis server that is started for each measurement, and
// the results are written to docs/hub.md. "make bench-hub" runs it.
//
// It is a module of its own, so that holdfast doesn't depend on centrifuge.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/bench/table"
)

type settings struct {
	out    string
	rounds int
	only   []string
	small  bool
}

func main() {
	var s settings
	var only, measure string
	flag.StringVar(&s.out, "out", "docs/hub.md", "Markdown file to write the table into; - prints it")
	flag.IntVar(&s.rounds, "rounds", 3, "number of rounds; the results are medians over them")
	flag.StringVar(&only, "only", "", "scenarios, comma separated: "+strings.Join(names(), ",")+" (default all)")
	flag.BoolVar(&s.small, "small", false, "measure with few members and messages, to test this command")
	flag.StringVar(&measure, "measure", "", "SCENARIO/SYSTEM to measure in this process; the command starts itself with it")
	flag.Parse()
	if only != "" {
		s.only = strings.Split(only, ",")
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	run := s.run
	if measure != "" {
		run = func(ctx context.Context) error { return s.measure(ctx, measure) }
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench-hub:", err)
		os.Exit(1)
	}
}

// run measures each scenario with each system in turn, in processes of their own.
func (s *settings) run(ctx context.Context) error {
	for _, name := range s.only {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("there is no scenario %q: use one of %s", name, strings.Join(names(), ", "))
		}
	}
	results := map[string][]figures{} // scenario/system, by round
	failed := map[string]bool{}
	for round := range s.rounds {
		for _, scenario := range scenarios {
			if s.only != nil && !slices.Contains(s.only, scenario.name) {
				continue
			}
			// Each system is the first one in turn.
			order := slices.Clone(systems)
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, system := range order {
				name := scenario.name + "/" + system.name
				began := time.Now()
				f, err := s.start(ctx, name)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					fmt.Fprintf(os.Stderr, "round %d, %s: %v\n", round+1, name, err)
					failed[name] = true
					continue
				}
				fmt.Fprintf(os.Stderr, "round %d, %s: %.1f s %v\n", round+1, name, time.Since(began).Seconds(), f)
				results[name] = append(results[name], f)
			}
		}
	}
	text := s.describe() + "\n\n" + format(results, failed)
	if s.out == "-" {
		_, err := fmt.Print(text)
		return err
	}
	return table.Replace(s.out, text)
}

// start measures in a new process, so that nothing that was measured before has an effect.
func (s *settings) start(ctx context.Context, name string) (f figures, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-measure", name}
	if s.small {
		args = append(args, "-small")
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var printed bytes.Buffer
	cmd.Stderr = &printed
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, ctx.Err(), errors.New(printed.String()))
	}
	err = json.Unmarshal(out, &f)
	f["printed"] = float64(bytes.Count(printed.Bytes(), []byte("\n")))
	return f, err
}

func (s *settings) describe() string {
	sizes := ""
	if s.small {
		sizes = ", with small sizes, which say nothing"
	}
	return fmt.Sprintf("Medians of %d rounds on %d processors (Redis %s, %s%s):",
		s.rounds, runtime.NumCPU(), redisVersion(), time.Now().Format(time.DateOnly), sizes)
}

// format makes the table of what was measured.
func format(results map[string][]figures, failed map[string]bool) string {
	var columns []string
	for _, system := range systems {
		columns = append(columns, system.title)
	}
	var rows []table.Row
	for _, scenario := range scenarios {
		for _, m := range scenario.metrics {
			row := table.Row{Label: m.label, Digits: m.digits}
			measured := false
			for _, system := range systems {
				var v []float64
				name := scenario.name + "/" + system.name
				measured = measured || failed[name]
				for _, f := range results[name] {
					if x, ok := f[m.key]; ok {
						v, measured = append(v, x), true
					}
				}
				row.Values, row.Failed = append(row.Values, v), append(row.Failed, failed[name])
			}
			if measured {
				rows = append(rows, row)
			}
		}
	}
	text := table.Format(columns, rows)
	if len(failed) > 0 {
		text += "\n!: a round has failed, so the result isn't valid.\n"
	}
	return text
}
