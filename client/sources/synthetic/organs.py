"""How notes speak of the lungs, the gut, the liver and the kidneys."""

ORGANS = """
J18, 0.10, acute, lead 1.0, age 0.15
codes: J18.9; J18.1 = confined to one lobe; J18.0 = patchy, around the bronchi
formal: pneumonia; community-acquired pneumonia; infection of the lung
shorthand: CAP; PNA; PNA on CTX/azithro
evidence: productive cough with rusty sputum and a fever of {temperature 100.9..103.4}; ceftriaxone
and azithromycin for {5..8} days;
crackles and egophony over the right base; pleuritic pain, rigors and a white count of {13..22}
imaging: right lower lobe consolidation with air bronchograms; patchy airspace opacity in the left
lung base
drugs: amoxicillin-clavulanate 875 mg twice daily; azithromycin 250 mg daily; levofloxacin 750 mg
daily
complaints: cough and fever; chills and green sputum

J44, 0.15, chronic, lead 0.6, age 0.15
codes: J44.9; J44.1 = flare with more wheeze and sputum
formal: chronic obstructive pulmonary disease; emphysema and chronic bronchitis; chronic airflow
obstruction
shorthand: COPD; COPD exac; COAD
evidence: FEV1 of {28..55}% predicted; prednisone burst and round-the-clock nebulizers; barrel
chest with prolonged expiration;
tiotropium and home oxygen at {2..4} litres; pursed-lip breathing and hyperinflated lungs
imaging: hyperinflated lungs with flattened diaphragms; centrilobular emphysema at the apices
drugs: tiotropium 18 mcg daily; albuterol inhaler as needed; fluticasone-salmeterol 250-50 twice
daily; prednisone 40 mg daily for 5 days
complaints: worsening wheeze and breathlessness; more cough than usual

J45, 0.06, chronic, lead 0.3, age -0.2, inherited
codes: J45.909; J45.901 = acute flare; J45.40 = moderate persistent
formal: bronchial asthma; asthma; reactive airways disease
shorthand: RAD; asthmatic; asthma on ICS
evidence: peak flow of {180..270} improving with bronchodilators; seasonal wheeze since childhood;
montelukast and a steroid inhaler;
night-time cough with eosinophilia
drugs: montelukast 10 mg nightly; budesonide-formoterol 160-4.5 twice daily; albuterol inhaler as
needed
complaints: chest tightness and wheezing

J69, 0.03, acute, lead 0.6, age 0.3
codes: J69.0 = witnessed inhalation of food
formal: aspiration pneumonitis; inhalation of stomach contents; chemical pneumonitis after vomiting
shorthand: asp PNA; aspirated; aspiration event
evidence: coughing with thin liquids and new right-sided opacities; failed swallow study with
hypoxia after a choking spell;
ampicillin-sulbactam after vomit was suctioned from the airway; nectar-thick liquids ordered after
silent entry below the cords
imaging: dependent opacities in the posterior segments
complaints: choking on food followed by fever

J84, 0.015, chronic, lead 0.4, age 0.2
codes: J84.10; J84.112 = idiopathic form
formal: interstitial pulmonary fibrosis; fibrosing interstitial lung disease; scarring of the lung
interstitium
shorthand: ILD; IPF; UIP pattern
evidence: dry Velcro crackles with clubbing; diffusing capacity of {28..46}% predicted; nintedanib
under the lung clinic;
evaluation for lung transplantation because of progressive scarring
imaging: subpleural honeycombing with traction bronchiectasis
drugs: nintedanib 150 mg twice daily; pirfenidone 801 mg three times daily
complaints: dry cough and breathlessness for months

J90, 0.05, acute, lead 0.3
codes: J90
formal: pleural effusion; fluid around the lung; hydrothorax
shorthand: R effusion; pleural eff; L > R effusions
evidence: thoracentesis with removal of {700..1800} mL of straw-colored fluid; dullness to
percussion with absent breath sounds at the base;
pigtail catheter drainage of the chest
imaging: blunted costophrenic angle with a layering fluid collection; moderate left fluid
collection with compressive atelectasis
complaints: breathlessness and a heavy chest

J96, 0.10, acute, lead 0.3, age 0.1
codes: J96.01 = oxygen saturation of {78..87}% on room air; J96.02 = retained carbon dioxide, pCO2
{58..84}; J96.00
formal: acute respiratory failure; ventilatory failure; failure of gas exchange
shorthand: AHRF; resp failure; hypoxic RF
evidence: intubation for increasing work of breathing; high-flow oxygen at {40..60} litres; bilevel
mask ventilation overnight in intensive care;
arterial blood gas of 7.{18..28} with accessory muscle use
complaints: severe breathlessness

G47, 0.11, chronic
codes: G47.33 = obstructive, apnea index of {22..58}; G47.30
formal: sleep disorder; sleep apnea syndrome; disordered sleep
shorthand: OSA; SDB on CPAP; sleep apnea, noncompliant w/ CPAP; CPAP user
evidence: nightly CPAP at {8..14} cm; loud snoring with witnessed pauses and daytime drowsiness;
sleep clinic follow-up for mask fitting; morning headaches and dozing at the wheel

K21, 0.22, chronic
codes: K21.9; K21.00 = erosive inflammation seen at endoscopy
formal: gastroesophageal reflux disease; acid reflux; reflux esophagitis
shorthand: GERD; GORD; reflux on PPI
evidence: heartburn after meals relieved by omeprazole; sour regurgitation on lying down; daily
proton pump inhibitor for burning behind the breastbone
drugs: omeprazole 20 mg daily; pantoprazole 40 mg daily; famotidine 20 mg twice daily

K57, 0.05, acute, lead 0.6, age 0.3
codes: K57.32 = inflamed sigmoid without perforation; K57.30; K57.31 = bleeding from a pouch
formal: diverticular disease of the colon; colonic diverticula; diverticulosis of the large bowel
shorthand: colonic tics; tics; divertic dz
evidence: left lower quadrant tenderness in a constipated patient; numerous sigmoid outpouchings at
colonoscopy;
high-fibre diet for pouches along the colon
imaging: numerous sigmoid outpouchings
drugs: psyllium daily
complaints: pain in the left lower belly

K56, 0.03, acute, lead 1.0
codes: K56.609; K56.50 = adhesions from earlier surgery
formal: intestinal obstruction; bowel obstruction; blocked small bowel
shorthand: SBO; SBO w/ NGT; BO
evidence: nasogastric tube with {800..1900} mL of bilious output; distended abdomen with no flatus
for {2..4} days;
high-pitched bowel sounds and vomiting
imaging: dilated loops with air-fluid levels and a transition point
complaints: vomiting and a bloated belly

K70, 0.035, chronic, lead 0.4
codes: K70.9; K70.31 = cirrhosis with tense ascites
formal: alcoholic liver disease; liver damage from alcohol; alcohol-related liver disease
shorthand: ALD; EtOH liver dz; liver dz from EtOH
evidence: jaundice with AST twice ALT after years of drinking; discriminant function of {24..52}
with prednisolone begun;
large tender liver in a heavy drinker; spider angiomata and a bilirubin of {bilirubin 5.1..14.8}
drugs: prednisolone 40 mg daily; spironolactone 100 mg daily; thiamine 100 mg daily
complaints: yellow skin and a swollen belly

K74, 0.03, chronic, lead 0.3
codes: K74.60; K74.69 = related to viral hepatitis or fat
formal: cirrhosis of the liver; hepatic fibrosis; end-stage scarring of the liver
shorthand: ESLD; cirrhosis, MELD {14..27}; NASH cirrhosis
evidence: esophageal varices banded at endoscopy; lactulose and rifaximin with asterixis; nodular
liver and splenomegaly;
evaluation for liver transplantation with a MELD of {16..28}
imaging: nodular hepatic contour with splenomegaly and varices
drugs: lactulose 30 mL three times daily; rifaximin 550 mg twice daily; nadolol 20 mg daily
complaints: confusion and a swollen belly

K80, 0.04, acute, lead 0.9
codes: K80.20; K80.00 = acute inflammation of the gallbladder
formal: cholelithiasis; gallstone disease; gallbladder calculi
shorthand: gallstones; symptomatic GS; GB stones s/p lap chole
evidence: laparoscopic cholecystectomy on day {2..4}; right upper quadrant pain after fatty meals
with a positive Murphy sign;
surgical clinic follow-up for biliary colic
imaging: echogenic shadowing calculi in the gallbladder neck
drugs: ursodiol 300 mg twice daily
complaints: pain under the right ribs after eating

K85, 0.03, acute, lead 1.0
codes: K85.90; K85.20 = after heavy drinking; K85.10 = passage of a biliary stone
formal: acute pancreatitis; inflamed pancreas; acute inflammation of the pancreas
shorthand: pancreatitis; AP; EtOH panc
evidence: lipase of {1100..6400} with epigastric pain boring to the back; bowel rest, aggressive
fluids and opioids for severe epigastric pain;
peripancreatic fluid and three Ranson criteria
imaging: enlarged pancreas with peripancreatic stranding
complaints: belly pain going through to the back

K92, 0.05, acute, lead 0.9, age 0.15
codes: K92.2; K92.1 = black tarry stool; K92.0 = coffee-ground vomit
formal: gastrointestinal hemorrhage; bleeding from the digestive tract; gastrointestinal bleeding
shorthand: GIB; UGIB; GI bleed
evidence: melena with an urgent endoscopy and clipping of a visible vessel; maroon stools and a
urea of {urea 38..71};
pantoprazole drip and two large-bore lines; bright red blood per rectum overnight
drugs: pantoprazole 40 mg twice daily
complaints: black stools; vomiting blood

N17, 0.20, acute, lead 0.3, age 0.15
codes: N17.9; N17.0 = muddy brown casts, tubular necrosis
formal: acute kidney injury; acute renal failure; sudden decline in kidney function
shorthand: AKI; ARF; Cr bump; prerenal AKI
evidence: creatinine rise from {creatinine 0.7..1.1} to {creatinine 2.1..4.8}; urine output under
{12..25} mL an hour with rising urea;
fractional sodium excretion of {0.2..0.8}% and recovery with fluids; nephrotoxins held while
creatinine came down from {creatinine 2.2..3.9};
oliguria needing temporary dialysis
complaints: passing little urine

N18, 0.18, chronic, age 0.35
codes: N18.9; N18.30 = stage 3; N18.6 = end stage, on dialysis three days a week; N18.4 = stage 4
formal: chronic kidney disease; chronic renal insufficiency; long-standing nephropathy
shorthand: CKD; CRI; CKD, baseline Cr {1.8..2.9}
evidence: baseline creatinine of {creatinine 1.8..3.4} for years; filtration rate below normal
since {2010..2014};
albuminuria with small echogenic kidneys; phosphate binders and epoetin from the kidney clinic
drugs: sevelamer 800 mg with meals; calcitriol 0.25 mcg daily; epoetin alfa weekly; sodium
bicarbonate 650 mg twice daily

N20, 0.025, acute, lead 0.9, age -0.2
codes: N20.0; N20.1 = lodged in the ureter
formal: urinary calculus; kidney stone; nephrolithiasis
shorthand: renal colic; L UVJ stone; stone dz
evidence: colicky flank pain to the groin with hematuria; ureteral stent and lithotripsy;
tamsulosin and straining of urine for passage
imaging: {4..9} mm obstructing calculus with hydronephrosis
drugs: tamsulosin 0.4 mg daily; ketorolac 10 mg as needed
complaints: waves of flank pain

N39, 0.11, acute, lead 0.6, age 0.25
codes: N39.0
formal: urinary tract infection; infection of the urine; bacterial cystitis
shorthand: UTI; +UA; urosepsis source UTI; E. coli UTI
evidence: dysuria with {50..100} white cells on urinalysis; urine culture with over 100,000
colonies of Escherichia coli;
nitrofurantoin for burning and frequency; cloudy foul urine, positive nitrite and leukocyte esterase
drugs: nitrofurantoin 100 mg twice daily; cefpodoxime 200 mg twice daily; ciprofloxacin 500 mg
twice daily
complaints: burning on passing urine; fever and frequency

N40, 0.08, chronic, age 0.5, sex M
codes: N40.0; N40.1 = hesitancy, retention and nocturia
formal: benign prostatic hyperplasia; enlarged prostate; prostatic enlargement
shorthand: BPH; BPH w/ LUTS; big prostate
evidence: weak stream with {220..480} mL left after voiding; tamsulosin and finasteride; smooth
enlarged gland on rectal exam;
failed voiding trial with the catheter left in
drugs: tamsulosin 0.4 mg nightly; finasteride 5 mg daily
"""
