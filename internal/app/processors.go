package app

import (
	"sync"
	"time"
)

// processors makes the engine keep spare processors while goroutines have work
// that users wait for: plain HTTP, the admin interface, a reload. Relaying is
// cheaper without them. The zero value is ready once set is set.
type processors struct {
	set func(on bool) // of the engine; blocks

	setting sync.Mutex // held while set is called; taken before mu

	mu    sync.Mutex // guards the following
	users int
	timer *time.Timer // while on
}

// cooldown is how long the processors stay after the last work, so that they
// aren't added and removed with every request.
const cooldown = time.Second

// enter is called when such work begins. It doesn't block, so that event loops
// may call it.
func (p *processors) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
	if p.timer == nil {
		p.timer = time.AfterFunc(cooldown, p.expire)
		go p.apply()
	}
}

// leave ends what enter began.
func (p *processors) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users == 0 {
		p.timer.Reset(cooldown)
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

// apply gives the engine the latest setting.
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
