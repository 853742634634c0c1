package discovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/awsapi"
)

// longestThrottled is the longest pause after an answer that there are too many calls.
// It may be longer than Refresh: AWS counts the calls of a whole account.
const longestThrottled = 5 * time.Minute

// awsServers finds servers; tests replace it.
type awsServers interface {
	Servers(context.Context) (servers []awsapi.Server, problem string, err error)
}

// awsWatch keeps one feed up to date from AWS.
type awsWatch struct {
	feed     *feed
	servers  awsServers
	failures int    // in a row
	problem  string // the last one that was logged
}

func newAWSWatch(f *feed) *awsWatch {
	return &awsWatch{feed: f, servers: awsapi.New(f.source.aws.Query)}
}

func (a *awsWatch) refresh(ctx context.Context) time.Duration {
	refresh := a.feed.source.aws.Refresh
	round, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	servers, problem, err := a.servers.Servers(round)
	if err != nil {
		a.failures, a.problem = a.failures+1, ""
		a.feed.fail(ctx, err)
		if e, ok := errors.AsType[*awsapi.Error](err); ok && e.Throttled() {
			return afterThrottling(a.failures, refresh)
		}
		return afterFailures(a.failures, refresh)
	}
	a.failures = 0
	members := make([]Member, 0, len(servers))
	for _, s := range servers {
		at := netip.AddrPortFrom(s.IP, uint16(a.feed.source.aws.Port))
		members = append(members, Member{Name: s.ID, Address: at.String(), Weight: 1})
	}
	a.feed.updatePartial(ctx, uniqueAddresses(unique(members)), problem, problem != "" && problem != a.problem)
	a.problem = problem
	return max(refresh-rand.N(refresh/10), shortestRefresh)
}

// afterThrottling is how long to wait after n failures, the last of which said that there
// are too many calls. It doubles from refresh on.
func afterThrottling(n int, refresh time.Duration) time.Duration {
	most := max(refresh, longestThrottled)
	if n < 10 {
		most = min(refresh<<n, most)
	}
	return max(most/2+rand.N(most/2), shortestRefresh)
}
