package review

// badge is an achievement; earned decides in whole numbers, since a rounded average would give it away.
type badge struct {
	kind        string
	name        string
	description string
	earned      func(count, sum int64) bool
}

var badges = []badge{
	{"five_star_achiever", "5-Star Achiever", "10 or more reviews, all of them with 5 stars",
		func(count, sum int64) bool { return count >= 10 && sum == 5*count }},
	{"top_performer", "Top Performer", "50 or more reviews with an average of at least 4.8",
		func(count, sum int64) bool { return count >= 50 && 10*sum >= 48*count }},
	{"trusted_professional", "Trusted Professional", "100 or more reviews with an average of at least 4.5",
		func(count, sum int64) bool { return count >= 100 && 10*sum >= 45*count }},
}
