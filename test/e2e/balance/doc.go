// Package balance has the end-to-end tests of which backend a session gets:
// weights, hashing, affinity, and shares of the load.
package balance
