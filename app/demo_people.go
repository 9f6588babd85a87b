package app

import (
	"fmt"
	"math/rand/v2"
)

var (
	demoFirst = []string{"Ada", "Amara", "Anouk", "Arjun", "Aroha", "Bao", "Benedikt", "Camila", "Chidi", "Dalia", "Diego", "Elif", "Emeka", "Fatima", "Freya", "Goran", "Hana", "Hiro", "Imani", "Ines",
		"Ivo", "Jamila", "Joao", "Kaito", "Keanu", "Lara", "Leila", "Linh", "Lucia", "Mads", "Malik", "Mei", "Mila", "Nadia", "Noor", "Olu", "Paloma", "Pavel", "Priya", "Quinn",
		"Rafael", "Ravi", "Rosa", "Sami", "Sanna", "Selma", "Soren", "Tala", "Tariq", "Thandi", "Tomas", "Uma", "Valentina", "Viktor", "Wren", "Yara", "Yuki", "Zain", "Zofia", "Zuri"}
	demoLast = []string{"Abebe", "Almeida", "Andersen", "Banerjee", "Bauer", "Castro", "Chen", "Costa", "Dubois", "Eriksen", "Farah", "Garcia", "Haddad", "Horvat", "Ito", "Jansen", "Kaya", "Kim", "Kowalska", "Larsen",
		"Lopez", "Mbeki", "Moreau", "Nakamura", "Ndlovu", "Nguyen", "Novak", "Okafor", "Oliveira", "Petrov", "Rahman", "Rossi", "Sato", "Silva", "Singh", "Tanaka", "Virtanen", "Wagner", "Yilmaz", "Zhang"}
	demoPlaces = []struct{ zone, city, country, currency string }{
		{"Europe/Berlin", "Berlin", "DE", "EUR"}, {"America/New_York", "New York", "US", "USD"}, {"Asia/Kolkata", "Pune", "IN", "USD"}, {"Asia/Kathmandu", "Kathmandu", "NP", "USD"}, {"Australia/Sydney", "Sydney", "AU", "AUD"},
		{"America/Sao_Paulo", "São Paulo", "BR", "USD"}, {"Africa/Lagos", "Lagos", "NG", "USD"}, {"Europe/London", "Leeds", "GB", "GBP"}, {"America/Los_Angeles", "Oakland", "US", "USD"}, {"Asia/Tokyo", "Osaka", "JP", "JPY"},
		{"Europe/Warsaw", "Kraków", "PL", "EUR"}, {"America/Mexico_City", "Puebla", "MX", "USD"}, {"Africa/Nairobi", "Nairobi", "KE", "USD"}, {"Asia/Manila", "Cebu", "PH", "USD"}, {"Pacific/Auckland", "Wellington", "NZ", "USD"},
		{"Asia/Dubai", "Dubai", "AE", "USD"}, {"America/St_Johns", "St. John's", "CA", "USD"}, {"Africa/Casablanca", "Rabat", "MA", "USD"}, {"Europe/Lisbon", "Porto", "PT", "EUR"}, {"Australia/Adelaide", "Adelaide", "AU", "AUD"},
	}
	demoTrades = []struct {
		category, title string
		skills, jobs    []string
		low, high       int // whole major units an hour
	}{
		{"engineering", "Backend engineer", []string{"Go", "PostgreSQL", "Kubernetes", "Redis"}, []string{"Review of a schema", "Pairing on a slow query", "Plan for a migration"}, 60, 140},
		{"engineering", "Frontend engineer", []string{"TypeScript", "React", "Accessibility", "CSS"}, []string{"Audit of a form", "Pairing on a component", "Faster first load"}, 50, 120},
		{"data", "Data scientist", []string{"Python", "Statistics", "SQL", "Forecasting"}, []string{"Reading an experiment", "A forecast for spring", "Cleaning a survey"}, 55, 130},
		{"design", "Product designer", []string{"Figma", "User research", "Prototyping"}, []string{"Critique of a flow", "Workshop on onboarding", "Five interviews"}, 45, 110},
		{"language", "Language tutor", []string{"Spanish", "German", "Conversation", "Grammar"}, []string{"Conversation", "Preparing for an exam", "Business letters"}, 20, 45},
		{"writing", "Technical writer", []string{"Documentation", "Editing", "Markdown"}, []string{"A guide for newcomers", "Editing release notes"}, 30, 80},
		{"music", "Piano teacher", []string{"Piano", "Music theory", "Improvisation"}, []string{"Lesson", "Preparing for an audition"}, 25, 60},
		{"finance", "Bookkeeper", []string{"Bookkeeping", "VAT", "Spreadsheets"}, []string{"Closing the quarter", "Sorting receipts", "A first budget"}, 30, 75},
		{"legal", "Contract lawyer", []string{"Contracts", "Privacy", "Licences"}, []string{"Reading a contract", "Privacy of a small shop"}, 90, 220},
		{"fitness", "Running coach", []string{"Running", "Strength", "Nutrition"}, []string{"A plan for ten weeks", "Form check"}, 25, 55},
	}
	demoPraise = []string{"Exactly what we needed.", "Calm, clear and on time.", "I learnt more in an hour than in a month.", "Would book again.", "Solid work, short answers.", "Good, though we ran out of time.", ""}
)

// demoName is a name that no other of the same kind has: the n-th combination in a shuffled order.
func demoName(order []int, n int) string {
	k := order[n]
	return demoFirst[k/len(demoLast)] + " " + demoLast[k%len(demoLast)]
}

func demoOrder(r *rand.Rand) []int { return r.Perm(len(demoFirst) * len(demoLast)) }

func demoEmail(kind string, n int) string { return fmt.Sprintf("%s%03d@demo.example", kind, n+1) }
