package retry_test

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/retry"
)

// TestDecisions has each failure of a backend that was asked, and those that
// leave none to be asked.
func TestDecisions(t *testing.T) {
	for _, tt := range []struct {
		code                       failure.Code
		status                     int
		handshake, search, mayPass bool
	}{
		{code: failure.Unreachable, handshake: true, search: true, mayPass: true},
		{code: failure.ConnectTimeout, handshake: true, search: true, mayPass: true},
		{code: failure.AnswerTimeout, handshake: true, search: true, mayPass: true},
		{code: failure.Silent, handshake: true, search: true, mayPass: true},
		{code: failure.Broken, search: true},
		{code: failure.Different, search: true},
		{code: failure.Declined, status: 403, search: true},
		{code: failure.Declined, status: 500, search: true},
		{code: failure.Declined, status: 502, search: true, mayPass: true},
		{code: failure.Declined, status: 503, search: true, mayPass: true},
		{code: failure.Declined, status: 504, search: true, mayPass: true},
		{code: failure.Declined, status: 505, search: true},
		{code: failure.NoResources, mayPass: true},
		{code: failure.NoBackend, mayPass: true},
		{code: failure.PoolFull, mayPass: true},
		{code: failure.NotNeeded},
		{code: failure.ReattachOff},
		{code: failure.NotKept},
		{code: failure.SessionEnded},
		{code: failure.ReattachTimeout},
		{code: failure.ClientGone},
		{code: failure.Internal},
	} {
		for asked := 1; asked <= retry.MaxBackends; asked++ {
			left := asked < retry.MaxBackends
			if got := retry.Handshake(tt.code, asked); got != (tt.handshake && left) {
				t.Errorf("code %d, %d asked: Handshake is %v", tt.code, asked, got)
			}
			if got := retry.Search(tt.code, asked); got != (tt.search && left) {
				t.Errorf("code %d, %d asked: Search is %v", tt.code, asked, got)
			}
		}
		if got := retry.MayPass(tt.code, tt.status); got != tt.mayPass {
			t.Errorf("code %d, status %d: MayPass is %v", tt.code, tt.status, got)
		}
	}
}

func TestPause(t *testing.T) {
	for _, tt := range []struct {
		since    time.Duration
		from, to time.Duration
	}{
		{0, 125 * time.Millisecond, 375 * time.Millisecond},
		{500 * time.Millisecond, 125 * time.Millisecond, 375 * time.Millisecond},
		{time.Second, 250 * time.Millisecond, 750 * time.Millisecond},
		{2 * time.Second, 500 * time.Millisecond, 1500 * time.Millisecond},
		{time.Hour, 500 * time.Millisecond, 1500 * time.Millisecond},
	} {
		if got := retry.Pause(tt.since, 0); got != tt.from {
			t.Errorf("%v after the loss: at least %v, want %v", tt.since, got, tt.from)
		}
		if got := retry.Pause(tt.since, 0.999999999); got.Round(time.Millisecond) != tt.to {
			t.Errorf("%v after the loss: at most %v, want %v", tt.since, got, tt.to)
		}
	}
}

func TestAnswered(t *testing.T) {
	on := retry.Statuses{{404, 404}, {502, 504}}
	for _, tt := range []struct {
		status int
		method string
		body   bool
		asked  int
		want   bool
	}{
		{502, "GET", false, 1, true},
		{503, "HEAD", false, 2, true},
		{504, "OPTIONS", false, 1, true},
		{404, "TRACE", false, 1, true},
		{403, "GET", false, 1, false},
		{501, "GET", false, 1, false},
		{505, "GET", false, 1, false},
		{503, "GET", false, retry.MaxBackends, false},
		{503, "GET", true, 1, false},
		{503, "POST", false, 1, false},
		{503, "PUT", false, 1, false},
		{503, "get", false, 1, false},
	} {
		if got := retry.Answered(on, tt.status, tt.method, tt.body, tt.asked); got != tt.want {
			t.Errorf("%+v: got %t", tt, got)
		}
	}
	if retry.Answered(nil, 503, "GET", false, 1) {
		t.Error("no status is listed, and another backend is asked")
	}
}
