package app

import (
	"sync"
	"time"
)

// processors has the engine keep spare processors while goroutines have work
// that people wait for: plain HTTP, the admin interface, a reload. Without any,
// relaying is cheaper. The zero value is ready once set is there.
type processors struct {
	set func(on bool) // the engine's; waits

	setting sync.Mutex // held while set is called; taken before mu

	mu    sync.Mutex // guards the following
	users int
	timer *time.Timer // while on
}

// afterglow is how long the processors stay after their last user, so that
// they don't come and go with every request.
const afterglow = time.Second

// enter is called when such work begins. It doesn't block, so that event loops
// may call it.
func (p *processors) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
	if p.timer == nil {
		p.timer = time.AfterFunc(afterglow, p.expire)
		go p.apply()
	}
}

// leave ends what enter began.
func (p *processors) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users == 0 {
		p.timer.Reset(afterglow)
	}
}

func (p *processors) expire() {
	p.mu.Lock()
	if p.users == 0 {
		p.timer = nil
	}
	p.mu.Unlock()
	p.apply()
}

// apply brings the engine to what is wanted by now, whoever else is about to.
func (p *processors) apply() {
	p.setting.Lock()
	defer p.setting.Unlock()
	p.mu.Lock()
	on := p.timer != nil
	p.mu.Unlock()
	p.set(on)
}

// while runs f as such work.
func (p *processors) while(f func()) {
	p.enter()
	defer p.leave()
	f()
}
