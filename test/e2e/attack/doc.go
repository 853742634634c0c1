// Package attack has the end-to-end tests of hostile load: slow clients, floods of
// connections, clients that never read, tiny frames, and no descriptors left. Good
// sessions must go on, the balancer's memory must stay bounded, and the log must say
// what was refused without growing with the attack. make bench-attack runs it with
// more attackers and prints figures.
package attack
