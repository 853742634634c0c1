// Package switching has the end-to-end tests of configurations of other balancers. The
// real nginx and HAProxy, and holdfast, run the same unchanged file, one after the other,
// and get the same requests. What they do with each must be the same, or the report of
// the import must say what differs.
//
// Files say "listen 80" and name servers such as 10.0.0.5 and app1.internal. So each
// file runs in namespaces of its own (isolate_test.go), where every address is local,
// names are resolved by a DNS server of the test, and the folders of certificates have
// what the file names. Nothing of that is seen outside, and tests run in parallel.
package switching
