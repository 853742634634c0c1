package relay

const MaxSeeking = maxSeeking
