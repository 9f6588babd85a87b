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
	demoPlaces = []struct{ zone, city, country string }{
		{"Europe/Berlin", "Berlin", "DE"}, {"America/New_York", "New York", "US"}, {"Asia/Kolkata", "Pune", "IN"}, {"Asia/Kathmandu", "Kathmandu", "NP"}, {"Australia/Sydney", "Sydney", "AU"},
		{"America/Sao_Paulo", "São Paulo", "BR"}, {"Africa/Lagos", "Lagos", "NG"}, {"Europe/London", "Leeds", "GB"}, {"America/Los_Angeles", "Oakland", "US"}, {"Asia/Tokyo", "Osaka", "JP"},
		{"Europe/Warsaw", "Kraków", "PL"}, {"America/Mexico_City", "Puebla", "MX"}, {"Africa/Nairobi", "Nairobi", "KE"}, {"Asia/Manila", "Cebu", "PH"}, {"Pacific/Auckland", "Wellington", "NZ"},
		{"Asia/Dubai", "Dubai", "AE"}, {"America/St_Johns", "St. John's", "CA"}, {"Africa/Casablanca", "Rabat", "MA"}, {"Europe/Lisbon", "Porto", "PT"}, {"Australia/Adelaide", "Adelaide", "AU"},
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
