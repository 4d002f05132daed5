"""How notes speak of metabolism, infection, the mind, bones, skin and tumors."""

SYSTEMIC = """
E78, 0.38, chronic, age 0.15, inherited
codes: E78.5; E78.2 = cholesterol and triglycerides both high
formal: hyperlipidemia; dyslipidemia; high cholesterol; disorder of lipid metabolism
shorthand: HLD; HL on statin; chol
evidence: LDL of {cholesterol 138..194} on the last panel; nightly statin therapy; triglycerides of
{triglycerides 260..480};
statin dose raised for a poor lipid panel
drugs: atorvastatin 40 mg nightly; simvastatin 20 mg nightly; rosuvastatin 10 mg daily; ezetimibe
10 mg daily

E11, 0.28, chronic, lead 0.15, age 0.1, inherited
codes: E11.9; E11.65 = glucose persistently above {glucose 240..310}; E11.42 = numb feet from nerve
damage; E11.649 = low glucose spells
formal: type 2 diabetes mellitus; adult-onset diabetes; non-insulin-dependent diabetes; sugar
diabetes
shorthand: T2DM; DM2; NIDDM; DM on insulin
evidence: hemoglobin A1c of {a1c 7.6..11.2}; metformin and a sliding scale of insulin; fingersticks
between {glucose 190..240} and {glucose 260..340};
glargine {14..38} units at bedtime
drugs: metformin 1000 mg twice daily; insulin glargine 24 units nightly; glipizide 5 mg daily;
empagliflozin 10 mg daily; insulin lispro sliding scale
complaints: thirst and high sugars

E87, 0.27, acute, lead 0.15
codes: E87.6 = potassium of {potassium 2.6..3.2}, replaced; E87.1 = sodium of {sodium 118..129};
E87.5 = potassium of {potassium 5.8..6.9}, treated;
E87.20 = bicarbonate of {10..16} with a low pH; E87.0 = sodium of {sodium 150..158}
formal: electrolyte disturbance; disorder of electrolytes and acid-base balance; deranged serum
salts
shorthand: lyte derangement; abnl lytes; lytes off
evidence: serum chemistry corrected over {2..4} days; metabolic panel every {4..8} hours until
normal;
telemetry for T wave changes from an abnormal metabolic panel; nephrology advice on correcting the
chemistry panel
complaints: muscle cramps and weakness

E86, 0.08, acute, lead 0.3, age 0.15
codes: E86.0; E86.1 = depleted blood volume
formal: dehydration; volume depletion; fluid deficit
shorthand: vol depl; hypovolemic; dry
evidence: dry mucous membranes with tenting skin; {2..4} litres of crystalloid for poor oral
intake; concentrated urine and sunken eyes after days of vomiting
complaints: poor intake and dizziness

E03, 0.12, chronic, age 0.1
codes: E03.9; E03.2 = caused by amiodarone or lithium
formal: hypothyroidism; underactive thyroid; thyroid insufficiency
shorthand: hypoT4; hypothyroid on LT4; low thyroid
evidence: levothyroxine each morning on an empty stomach; TSH of {9..38} with a low free T4; cold
intolerance, dry skin and delayed reflexes
drugs: levothyroxine 75 mcg daily; levothyroxine 100 mcg daily

E66, 0.13, chronic, age -0.2
codes: E66.9; E66.01 = morbid, from excess calories
formal: obesity; excess body weight; severe adiposity
shorthand: high BMI; BMI {34..47}; obese
evidence: body mass index of {33..48}; weight of {112..168} kg complicating positioning; bariatric
clinic referral and calorie counselling
drugs: semaglutide 1 mg weekly

E43, 0.04, acute, age 0.1
codes: E43
formal: severe protein-calorie malnutrition; severe undernutrition; protein-energy wasting
shorthand: severe PCM; malnourished; cachectic
evidence: {12..22}% weight loss in three months with temporal wasting; tube feeding begun for an
albumin of {albumin 1.6..2.3}; marked muscle and fat loss on the dietitian's exam
drugs: high-protein supplement three times daily

A41, 0.09, acute, lead 1.0, age 0.15
codes: A41.9; A41.51 = Escherichia coli in both bottles; A41.01 = Staphylococcus aureus in the blood
formal: sepsis; septicemia; systemic infection with organ dysfunction; bloodstream infection with
shock physiology
shorthand: SIRS + source; sepsis, lactate {3.1..6.8}; septic
evidence: lactate of {3.2..7.1} with norepinephrine support; {2..4} litres of fluid and
broad-spectrum antibiotics within the hour;
growth in four of four blood culture bottles; vancomycin and piperacillin-tazobactam for fever,
tachycardia and a low pressure
drugs: ceftriaxone 2 g daily to finish 14 days
complaints: fever, chills and confusion; shaking chills

A04, 0.02, acute, lead 0.7
codes: A04.72; A04.71 = second recurrence
formal: Clostridioides difficile colitis; bacterial intestinal infection; antibiotic-associated
colitis
shorthand: C diff; CDI; C. diff +
evidence: {8..14} watery stools a day after clindamycin; oral vancomycin with contact isolation;
positive stool toxin assay
drugs: vancomycin 125 mg by mouth four times daily; fidaxomicin 200 mg twice daily
complaints: watery diarrhea

B18, 0.025, chronic
codes: B18.2 = type C
formal: chronic viral hepatitis; long-standing viral hepatitis; persistent hepatitis virus infection
shorthand: HCV; hep C; HCV+
evidence: detectable viral RNA with genotype 1a; sofosbuvir-velpatasvir planned by the liver
clinic; old needle sharing with a positive antibody and viral load
drugs: sofosbuvir-velpatasvir 400-100 mg daily

L03, 0.045, acute, lead 0.9
codes: L03.90; L03.115 = right lower leg; L03.116 = left lower leg
formal: cellulitis; soft tissue infection of the skin; spreading skin infection
shorthand: LE cellulitis; SSTI; cellulitic leg
evidence: warm, tender erythema marked with a pen and receding on cefazolin; red hot shin with
lymphangitic streaks; cephalexin for advancing redness
drugs: cephalexin 500 mg four times daily; clindamycin 300 mg three times daily
complaints: red, hot, painful leg

L89, 0.035, acute, age 0.3
codes: L89.159; L89.153 = sacral, stage 3, full thickness; L89.622 = left heel, stage 2
formal: pressure ulcer; decubitus ulcer; bedsore
shorthand: decub; decub on admit; PI
evidence: wound nurse consult with turning every two hours; {3..7} cm skin breakdown over a bony
prominence; air mattress and foam dressings for skin breakdown

F32, 0.14, chronic, lead 0.1, inherited
codes: F32.A; F32.2 = severe, without psychosis; F32.1 = moderate
formal: depression; major depressive episode; depressive disorder
shorthand: MDD; depr on SSRI; depressed
evidence: low mood, anhedonia and early waking; sertraline raised to 100 mg with psychiatry
follow-up;
PHQ-9 score of {14..23}; tearfulness with passive wish to die
drugs: sertraline 50 mg daily; escitalopram 10 mg daily; mirtazapine 15 mg nightly; bupropion XL
150 mg daily
complaints: low mood and poor sleep

F41, 0.11, chronic, age -0.2
codes: F41.9; F41.1 = generalized, constant worry; F41.0 = sudden panic attacks
formal: anxiety disorder; anxiety; excessive anxiousness
shorthand: GAD; anx; panic d/o
evidence: constant worry with tremulous hands; lorazepam as needed for panicky spells; buspirone
and cognitive therapy
drugs: lorazepam 0.5 mg as needed; buspirone 10 mg twice daily

F10, 0.08, chronic, lead 0.4, age -0.25, inherited
codes: F10.20; F10.230 = withdrawal tremor without complication; F10.229 = intoxicated on arrival,
level {210..340}
formal: alcohol dependence; alcohol use disorder; harmful drinking
shorthand: EtOH abuse; AUD; EtOHism; CIWA
evidence: a pint of vodka daily with morning shakes; CIWA scores of {12..24} treated with diazepam;
thiamine, folate and referral to a detoxification program;
last drink {8..30} hours before arrival
drugs: thiamine 100 mg daily; folic acid 1 mg daily; naltrexone 50 mg daily
complaints: shakes after stopping drinking

F17, 0.15, chronic, age -0.2
codes: F17.210; F17.220 = chewing tobacco
formal: nicotine dependence; tobacco use disorder; current cigarette smoking
shorthand: tob use; 1 ppd; active smoker; {20..60} pk-yr, still smoking
evidence: one pack a day for {20..45} years; nicotine patch and cessation counselling; cigarettes
outside the ward against advice
drugs: nicotine patch 21 mg daily; varenicline 1 mg twice daily

F03, 0.06, chronic, lead 0.15, age 0.9, inherited
codes: F03.90; F03.911 = agitation toward carers
formal: dementia; major neurocognitive disorder; progressive cognitive decline
shorthand: NCD; AOx1 baseline; memory care resident
evidence: MMSE of {9..19}; donepezil and help with all daily activities; residence in a memory
unit, relatives no longer recognised; wandering and repeated questions for years
drugs: donepezil 10 mg nightly; memantine 10 mg twice daily
complaints: wandering and not eating

F05, 0.05, acute, lead 0.3, age 0.6
codes: F05
formal: delirium; acute confusional state; acute brain dysfunction from medical illness
shorthand: AMS; sundowning; CAM+; delirious
evidence: fluctuating attention, worse at night, clearing with treatment; haloperidol and a sitter
for pulling at lines; sudden disorientation with visual hallucinations
complaints: sudden confusion

G20, 0.02, chronic, age 0.5, inherited
codes: G20.A1; G20.B1 = dyskinesia in the on state
formal: Parkinson disease; paralysis agitans; idiopathic parkinsonism
shorthand: PD; PD on Sinemet; Parkinson's
evidence: carbidopa-levodopa every {4..6} hours; pill-rolling tremor, cogwheel rigidity and
shuffling gait; masked face with freezing at doorways
drugs: carbidopa-levodopa 25-100 three times daily; pramipexole 0.5 mg three times daily
complaints: repeated falls and stiffness

G40, 0.04, chronic, lead 0.5, age -0.15
codes: G40.909; G40.901 = continuous fits, status; G40.919 = resistant to drugs
formal: epilepsy; seizure disorder; recurrent unprovoked seizures
shorthand: sz d/o; szs on Keppra; GTC sz hx
evidence: levetiracetam loading dose; two witnessed convulsions with tongue biting;
epileptiform discharges on EEG; postictal drowsiness after stopping valproate
drugs: levetiracetam 750 mg twice daily; lamotrigine 100 mg twice daily; valproate 500 mg twice
daily
complaints: witnessed convulsion

M10, 0.06, chronic, lead 0.1, age 0.2
codes: M10.9; M10.071 = right big toe
formal: gout; gouty arthritis; urate crystal arthropathy
shorthand: podagra; gout flare; gouty toe
evidence: uric acid of {urate 8.1..10.9}; red swollen great toe settling with colchicine;
negatively birefringent needles in joint fluid; allopurinol prophylaxis
drugs: allopurinol 300 mg daily; colchicine 0.6 mg daily
complaints: hot painful toe

M17, 0.07, chronic, lead 0.5, age 0.3
codes: M17.9; M17.11 = right knee; M17.0 = both knees
formal: osteoarthritis of the knee; degenerative knee arthritis; gonarthrosis
shorthand: knee OA; DJD knee; s/p TKA for OA
evidence: elective total knee replacement; bone-on-bone wear with stiffness and crepitus; steroid
injections no longer easing pain on stairs
imaging: medial joint space loss with osteophytes at the knee
drugs: celecoxib 200 mg daily; diclofenac gel four times daily
complaints: knee pain on stairs

M81, 0.06, chronic, age 0.5
codes: M81.0
formal: osteoporosis; age-related loss of bone density; porous bones
shorthand: low T-score; OP on Fosamax; osteoporotic
evidence: T-score of -{2.6..3.9} at the hip; weekly alendronate with calcium; height loss and old
wedge deformities
drugs: alendronate 70 mg weekly; calcium-vitamin D 600 mg twice daily; denosumab 60 mg twice a year

S72, 0.03, acute, lead 1.0, age 0.6
codes: S72.009A; S72.141A = displaced, right intertrochanteric; S72.002A = left femoral neck
formal: fracture of the femur; broken hip; proximal femoral fracture
shorthand: hip fx; fem fx; hip fx s/p ORIF
evidence: shortened, externally rotated leg after a fall; surgical fixation of the hip on day
{1..3}; hip precautions with weight bearing as tolerated after a fall
imaging: cortical break through the proximal femur
drugs: enoxaparin 40 mg daily for 28 days; oxycodone 5 mg as needed
complaints: fall with hip pain

C34, 0.02, chronic, lead 0.5, inherited
codes: C34.90; C34.11 = right upper lobe; C34.32 = left lower lobe
formal: lung cancer; bronchogenic carcinoma; malignant neoplasm of the bronchus and lung
shorthand: NSCLC; lung ca; SCLC on carbo/etop
evidence: adenocarcinoma from a bronchoscopic biopsy; carboplatin, pemetrexed and pembrolizumab
cycle {2..5}; PD-L1 of {50..90}% with hemoptysis
imaging: {2.8..6.1} cm spiculated mass with hilar nodes
drugs: osimertinib 80 mg daily; dexamethasone 4 mg twice daily
complaints: coughing blood and weight loss

C50, 0.02, chronic, lead 0.3, sex F, inherited
codes: C50.919; C50.412 = upper outer quadrant, left; C50.911 = right side
formal: breast cancer; malignant neoplasm of the breast; mammary carcinoma
shorthand: breast ca; ER+ breast ca; IDC s/p lumpectomy
evidence: letrozole after mastectomy; HER2-positive ductal carcinoma on trastuzumab; sentinel node
biopsy and whole-breast radiation
drugs: letrozole 2.5 mg daily; tamoxifen 20 mg daily; anastrozole 1 mg daily
complaints: new lump in the breast

C61, 0.025, chronic, lead 0.2, age 0.4, sex M, inherited
codes: C61
formal: prostate cancer; malignant neoplasm of the prostate; prostatic adenocarcinoma
shorthand: prostate ca; PCa; mCRPC on ADT
evidence: Gleason {4..5}+{3..4} on needle biopsy; leuprolide every three months with a PSA of
{12..86}; abiraterone with prednisone
drugs: leuprolide 22.5 mg every 3 months; abiraterone 1000 mg daily; enzalutamide 160 mg daily
complaints: bone pain and trouble passing urine

C18, 0.015, chronic, lead 0.6, age 0.2, inherited
codes: C18.9; C18.2 = ascending part; C18.7 = sigmoid part
formal: colon cancer; malignant neoplasm of the colon; adenocarcinoma of the large bowel
shorthand: colon ca; CRC; CRC on FOLFOX
evidence: right hemicolectomy with {1..6} of 18 nodes positive; CEA of {24..180}; oxaliplatin and
fluorouracil every two weeks; apple-core lesion at colonoscopy
drugs: capecitabine 1500 mg twice daily
complaints: change of bowel habit and weight loss

C25, 0.01, chronic, lead 0.6
codes: C25.9; C25.0 = head of the gland
formal: pancreatic cancer; malignant neoplasm of the pancreas; pancreatic ductal adenocarcinoma
shorthand: panc ca; PDAC; s/p Whipple for PDAC
evidence: CA 19-9 of {420..3800} with painless jaundice; gemcitabine and nab-paclitaxel; biliary
stent across a malignant stricture
imaging: hypodense pancreatic mass with a double duct sign
drugs: pancrelipase with meals
complaints: painless jaundice and weight loss

C78, 0.03, chronic, lead 0.2
codes: C78.7 = spread to the liver; C78.00 = spread to the lung; C78.6 = spread to the peritoneum
formal: secondary malignant neoplasm of visceral organs; metastatic disease in internal organs;
visceral metastases
shorthand: mets; stage IV; met dz
evidence: growing distant deposits on restaging; palliative chemotherapy for disseminated tumor;
biopsy of a distant deposit matching the primary
imaging: many new rounded deposits since the last scan

C79, 0.02, chronic, lead 0.2
codes: C79.51
formal: secondary malignant neoplasm of bone; skeletal metastases; metastasis to the spine
shorthand: bone mets; osseous mets; spine mets s/p XRT
evidence: zoledronic acid and palliative radiation for back pain; lytic lesions causing cord
compression
imaging: lytic vertebral lesions with epidural extension
drugs: dexamethasone 4 mg every 6 hours; zoledronic acid 4 mg monthly
complaints: back pain with weak legs
"""
